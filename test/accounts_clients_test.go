package test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/types/errs"
	"github.com/regclient/regclient/types/ref"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	orasremote "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// accountsLibrary is a client library that is given credentials.
type accountsLibrary struct {
	name string
	// push and pull copy an image between a repository of berth and a layout.
	push func(t *testing.T, b *Berth, who accountsTenant, layout, tag, repository string) error
	pull func(t *testing.T, b *Berth, who accountsTenant, repository, digest, layout string) error
	// unauthorized reports whether an error is a 401 in the client's eyes.
	unauthorized func(error) bool
	// user is how the client writes the name of an account.
	user func(name string) string
}

func accountsPlain(name string) string { return name }
func accountsRobot(name string) string { return "robot$" + name + ".users.kraftcloud" }

func accountsLibraries() []accountsLibrary {
	ggcr := func(err error) bool {
		var e *transport.Error
		return errors.As(err, &e) && e.StatusCode == http.StatusUnauthorized
	}
	oras := func(err error) bool {
		var e *errcode.ErrorResponse
		return errors.As(err, &e) && e.StatusCode == http.StatusUnauthorized
	}
	return []accountsLibrary{
		{"go-containerregistry", accountsPushGGCR, accountsPullGGCR, ggcr, accountsPlain},
		{"go-containerregistry as the legacy client", accountsPushGGCR, accountsPullGGCR, ggcr, accountsRobot},
		{"oras-go", accountsPushORAS(false), accountsPullORAS(false), oras, accountsPlain},
		{"oras-go by OAuth2", accountsPushORAS(true), accountsPullORAS(true), oras, accountsPlain},
		{"regclient", accountsPushRegclient, accountsPullRegclient,
			// It calls a 403 unauthorized, too.
			func(err error) bool {
				return errors.Is(err, errs.ErrHTTPUnauthorized) && !strings.Contains(err.Error(), "http 403")
			}, accountsPlain},
	}
}

// TestAccountsLibraries pushes, looks up and pulls with each client library
// against a closed berth.
func TestAccountsLibraries(t *testing.T) {
	t.Parallel()
	b := start(t)
	alice, bob := accountsAdd(t, b, "alice"), accountsAdd(t, b, "bob")
	for i, c := range accountsLibraries() {
		t.Run(c.name, func(t *testing.T) {
			f := fixtureNamed(t, "kraft-hello")
			repository := "alice/app" + string(rune('0'+i))
			as := func(who accountsTenant) accountsTenant {
				who.Name = c.user(who.Name)
				return who
			}
			if err := c.push(t, b, as(alice.wrong()), f.dir(), f.tag, repository); !c.unauthorized(err) {
				t.Errorf("push with a wrong password: %v", err)
			}
			if err := c.push(t, b, as(bob), f.dir(), f.tag, repository); err == nil || c.unauthorized(err) {
				t.Errorf("push by another account: %v", err)
			}
			if err := c.push(t, b, as(alice), f.dir(), f.tag, repository); err != nil {
				t.Fatal(err)
			}
			name, digest := accountsDigest(t, b, alice, repository+":"+f.tag)
			if name != repository || digest != f.digest {
				t.Errorf("the API says %s@%s", name, digest)
			}
			pulled := t.TempDir()
			if err := c.pull(t, b, as(alice), name, digest, pulled); err != nil {
				t.Fatal(err)
			}
			sameBlobs(t, pulled, f.dir())
			if err := c.pull(t, b, as(alice.wrong()), name, digest, t.TempDir()); !c.unauthorized(err) {
				t.Errorf("pull with a wrong password: %v", err)
			}
			if err := c.pull(t, b, as(bob), name, digest, t.TempDir()); err == nil || c.unauthorized(err) {
				t.Errorf("pull by another account: %v", err)
			}
		})
	}
	accountsList(t, bob.on(b))
	accountsGreps(t, map[string]string{"the log": b.log.String()}, alice, bob)
}

func accountsGGCR(ctx context.Context, who accountsTenant) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuth(&authn.Basic{Username: who.Name, Password: who.Secret})}
}

func accountsPushGGCR(t *testing.T, b *Berth, who accountsTenant, dir, tag, repository string) error {
	return remote.WriteIndex(ggcrRef(t, b, repository+":"+tag), indexOf(t, dir, tag), accountsGGCR(t.Context(), who)...)
}

func accountsPullGGCR(t *testing.T, b *Berth, who accountsTenant, repository, digest, dir string) error {
	index, err := remote.Index(ggcrRef(t, b, repository+"@"+digest), accountsGGCR(t.Context(), who)...)
	if err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index)
}

func accountsORAS(t *testing.T, b *Berth, who accountsTenant, repository string, oauth bool) *orasremote.Repository {
	r := orasRepository(t, b, repository)
	r.Client = &auth.Client{
		Client: http.DefaultClient, ForceAttemptOAuth2: oauth,
		Credential: auth.StaticCredential(b.Host, auth.Credential{Username: who.Name, Password: who.Secret}),
	}
	return r
}

func accountsPushORAS(oauth bool) func(*testing.T, *Berth, accountsTenant, string, string, string) error {
	return func(t *testing.T, b *Berth, who accountsTenant, dir, tag, repository string) error {
		source, err := oci.NewFromFS(t.Context(), os.DirFS(dir))
		if err != nil {
			return err
		}
		_, err = oras.Copy(t.Context(), source, tag, accountsORAS(t, b, who, repository, oauth), tag, oras.DefaultCopyOptions)
		return err
	}
}

func accountsPullORAS(oauth bool) func(*testing.T, *Berth, accountsTenant, string, string, string) error {
	return func(t *testing.T, b *Berth, who accountsTenant, repository, digest, dir string) error {
		target, err := oci.New(dir)
		if err != nil {
			return err
		}
		_, err = oras.Copy(t.Context(), accountsORAS(t, b, who, repository, oauth), digest, target, "", oras.DefaultCopyOptions)
		return err
	}
}

func accountsCopyRegclient(t *testing.T, b *Berth, who accountsTenant, from, to string) error {
	rc := regclient.New(regclient.WithConfigHost(config.Host{Name: b.Host, TLS: config.TLSDisabled, User: who.Name, Pass: who.Secret}))
	source, err := ref.New(from)
	if err != nil {
		return err
	}
	target, err := ref.New(to)
	if err != nil {
		return err
	}
	return errors.Join(rc.ImageCopy(t.Context(), source, target), rc.Close(t.Context(), source), rc.Close(t.Context(), target))
}

func accountsPushRegclient(t *testing.T, b *Berth, who accountsTenant, dir, tag, repository string) error {
	own := filepath.Join(t.TempDir(), "layout") // see pushRegclient
	if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
		return err
	}
	return accountsCopyRegclient(t, b, who, "ocidir://"+own+":"+tag, b.Host+"/"+repository+":"+tag)
}

func accountsPullRegclient(t *testing.T, b *Berth, who accountsTenant, repository, digest, dir string) error {
	return accountsCopyRegclient(t, b, who, b.Host+"/"+repository+"@"+digest, "ocidir://"+dir+":pulled")
}

// TestAccountsSkopeo logs in, copies, logs out; and copies with credentials on
// the command line.
func TestAccountsSkopeo(t *testing.T) {
	requireOrSkip(t, "skopeo")
	t.Parallel()
	b, ctx := start(t), testContext(t)
	alice, bob := accountsAdd(t, b, "alice"), accountsAdd(t, b, "bob")
	f := fixtureNamed(t, "kraft-hello")
	passwords := filepath.Join(t.TempDir(), "auth.json")
	login := func(who accountsTenant) error {
		cmd := accountsProgram(ctx, "skopeo", "login", "--tls-verify=false", "--authfile", passwords, "-u", who.Name, "--password-stdin", b.Host)
		cmd.Stdin = strings.NewReader(who.Secret)
		return accountsRun(cmd)
	}
	copied := func(args ...string) error {
		return accountsRun(skopeo(ctx, append([]string{"--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"}, args...)...))
	}
	here, there := "oci:"+f.dir()+":"+f.tag, "docker://"+b.Host+"/alice/hello:"+f.tag

	if err := login(alice.wrong()); err == nil || !strings.Contains(err.Error(), "invalid username/password") {
		t.Errorf("login with a wrong password: %v", err)
	}
	if err := login(alice); err != nil {
		t.Fatal(err)
	}
	if err := copied("--authfile", passwords, here, there); err != nil {
		t.Fatal(err)
	}
	name, digest := accountsDigest(t, b, alice, "alice/hello:"+f.tag)
	found := "docker://" + b.Host + "/" + name + "@" + digest
	pulled := t.TempDir()
	if err := copied("--authfile", passwords, found, "oci:"+pulled+":pulled"); err != nil {
		t.Fatal(err)
	}
	sameBlobs(t, pulled, f.dir())
	runTool(t, accountsProgram(ctx, "skopeo", "logout", "--authfile", passwords, b.Host))
	if err := copied("--authfile", passwords, found, "oci:"+t.TempDir()+":pulled"); err == nil {
		t.Error("pulls after logout")
	}

	if err := copied("--dest-creds", alice.Name+":"+alice.Secret, here, "docker://"+b.Host+"/alice/again:v1"); err != nil {
		t.Error(err)
	}
	for _, who := range []accountsTenant{alice.wrong(), bob} {
		err := copied("--dest-creds", who.Name+":"+who.Secret, here, "docker://"+b.Host+"/alice/hello:theirs")
		if err == nil || who != bob && !strings.Contains(err.Error(), "unauthorized") {
			t.Errorf("push to alice as %s: %v", who.Name, err)
		}
		if copied("--src-creds", who.Name+":"+who.Secret, found, "oci:"+t.TempDir()+":pulled") == nil {
			t.Errorf("pulls from alice as %s", who.Name)
		}
	}
}
