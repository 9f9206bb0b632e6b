package clients

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

	"github.com/berth-oci/berth/test/harness"
)

// accountLibrary is a client library that is given credentials.
type accountLibrary struct {
	name string
	// push and pull copy an image between a repository of berth and a layout.
	push func(t *testing.T, b *harness.Berth, who harness.Account, layout, tag, repository string) error
	pull func(t *testing.T, b *harness.Berth, who harness.Account, repository, digest, layout string) error
	// unauthorized reports whether an error is a 401 in the client's eyes.
	unauthorized func(error) bool
	// user is how the client writes the name of an account.
	user func(name string) string
}

func plainName(name string) string { return name }

func accountLibraries() []accountLibrary {
	ggcr := func(err error) bool {
		var e *transport.Error
		return errors.As(err, &e) && e.StatusCode == http.StatusUnauthorized
	}
	oras := func(err error) bool {
		var e *errcode.ErrorResponse
		return errors.As(err, &e) && e.StatusCode == http.StatusUnauthorized
	}
	return []accountLibrary{
		{"go-containerregistry", pushGGCRAs, pullGGCRAs, ggcr, plainName},
		{"go-containerregistry as the legacy client", pushGGCRAs, pullGGCRAs, ggcr, harness.RobotName},
		{"oras-go", pushORASAs(false), pullORASAs(false), oras, plainName},
		{"oras-go by OAuth2", pushORASAs(true), pullORASAs(true), oras, plainName},
		{"regclient", pushRegclientAs, pullRegclientAs,
			// It calls a 403 unauthorized, too.
			func(err error) bool {
				return errors.Is(err, errs.ErrHTTPUnauthorized) && !strings.Contains(err.Error(), "http 403")
			}, plainName},
	}
}

// TestLibrariesWithAccounts pushes, looks up and pulls with each client library
// against a closed berth.
func TestLibrariesWithAccounts(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice, bob := harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob")
	for i, c := range accountLibraries() {
		t.Run(c.name, func(t *testing.T) {
			f := harness.FixtureNamed(t, "kraft-hello")
			repository := "alice/app" + string(rune('0'+i))
			as := func(who harness.Account) harness.Account {
				who.Name = c.user(who.Name)
				return who
			}
			if err := c.push(t, b, as(alice.Wrong()), f.Dir(), f.Tag, repository); !c.unauthorized(err) {
				t.Errorf("push with a wrong password: %v", err)
			}
			if err := c.push(t, b, as(bob), f.Dir(), f.Tag, repository); err == nil || c.unauthorized(err) {
				t.Errorf("push by another account: %v", err)
			}
			if err := c.push(t, b, as(alice), f.Dir(), f.Tag, repository); err != nil {
				t.Fatal(err)
			}
			name, digest := harness.DigestAs(t, b, alice, repository+":"+f.Tag)
			if name != repository || digest != f.Digest {
				t.Errorf("the API says %s@%s", name, digest)
			}
			pulled := t.TempDir()
			if err := c.pull(t, b, as(alice), name, digest, pulled); err != nil {
				t.Fatal(err)
			}
			harness.SameBlobs(t, pulled, f.Dir())
			if err := c.pull(t, b, as(alice.Wrong()), name, digest, t.TempDir()); !c.unauthorized(err) {
				t.Errorf("pull with a wrong password: %v", err)
			}
			if err := c.pull(t, b, as(bob), name, digest, t.TempDir()); err == nil || c.unauthorized(err) {
				t.Errorf("pull by another account: %v", err)
			}
		})
	}
	harness.WantOnly(t, bob.On(b))
	harness.WantNoSecrets(t, map[string]string{"the log": b.Log.String()}, alice, bob)
}

func ggcrAs(ctx context.Context, who harness.Account) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuth(&authn.Basic{Username: who.Name, Password: who.Secret})}
}

func pushGGCRAs(t *testing.T, b *harness.Berth, who harness.Account, dir, tag, repository string) error {
	return remote.WriteIndex(harness.GGCRRef(t, b, repository+":"+tag), harness.LayoutIndex(t, dir, tag), ggcrAs(t.Context(), who)...)
}

func pullGGCRAs(t *testing.T, b *harness.Berth, who harness.Account, repository, digest, dir string) error {
	index, err := remote.Index(harness.GGCRRef(t, b, repository+"@"+digest), ggcrAs(t.Context(), who)...)
	if err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index)
}

func orasAs(t *testing.T, b *harness.Berth, who harness.Account, repository string, oauth bool) *orasremote.Repository {
	r := orasRepository(t, b, repository)
	r.Client = &auth.Client{
		Client: http.DefaultClient, ForceAttemptOAuth2: oauth,
		Credential: auth.StaticCredential(b.Host, auth.Credential{Username: who.Name, Password: who.Secret}),
	}
	return r
}

func pushORASAs(oauth bool) func(*testing.T, *harness.Berth, harness.Account, string, string, string) error {
	return func(t *testing.T, b *harness.Berth, who harness.Account, dir, tag, repository string) error {
		source, err := oci.NewFromFS(t.Context(), os.DirFS(dir))
		if err != nil {
			return err
		}
		_, err = oras.Copy(t.Context(), source, tag, orasAs(t, b, who, repository, oauth), tag, oras.DefaultCopyOptions)
		return err
	}
}

func pullORASAs(oauth bool) func(*testing.T, *harness.Berth, harness.Account, string, string, string) error {
	return func(t *testing.T, b *harness.Berth, who harness.Account, repository, digest, dir string) error {
		target, err := oci.New(dir)
		if err != nil {
			return err
		}
		_, err = oras.Copy(t.Context(), orasAs(t, b, who, repository, oauth), digest, target, "", oras.DefaultCopyOptions)
		return err
	}
}

func copyRegclientAs(t *testing.T, b *harness.Berth, who harness.Account, from, to string) error {
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

func pushRegclientAs(t *testing.T, b *harness.Berth, who harness.Account, dir, tag, repository string) error {
	own := filepath.Join(t.TempDir(), "layout") // see pushRegclient
	if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
		return err
	}
	return copyRegclientAs(t, b, who, "ocidir://"+own+":"+tag, b.Host+"/"+repository+":"+tag)
}

func pullRegclientAs(t *testing.T, b *harness.Berth, who harness.Account, repository, digest, dir string) error {
	return copyRegclientAs(t, b, who, b.Host+"/"+repository+"@"+digest, "ocidir://"+dir+":pulled")
}

// TestSkopeoWithAccounts logs in, copies, logs out; and copies with credentials on
// the command line.
func TestSkopeoWithAccounts(t *testing.T) {
	harness.Require(t, "skopeo")
	t.Parallel()
	b, ctx := harness.Start(t), harness.TestContext(t)
	alice, bob := harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob")
	f := harness.FixtureNamed(t, "kraft-hello")
	passwords := filepath.Join(t.TempDir(), "auth.json")
	login := func(who harness.Account) error {
		cmd := program(ctx, "skopeo", "login", "--tls-verify=false", "--authfile", passwords, "-u", who.Name, "--password-stdin", b.Host)
		cmd.Stdin = strings.NewReader(who.Secret)
		return run(cmd)
	}
	copied := func(args ...string) error {
		return run(harness.Skopeo(ctx, append([]string{"--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"}, args...)...))
	}
	here, there := "oci:"+f.Dir()+":"+f.Tag, "docker://"+b.Host+"/alice/hello:"+f.Tag

	if err := login(alice.Wrong()); err == nil || !strings.Contains(err.Error(), "invalid username/password") {
		t.Errorf("login with a wrong password: %v", err)
	}
	if err := login(alice); err != nil {
		t.Fatal(err)
	}
	if err := copied("--authfile", passwords, here, there); err != nil {
		t.Fatal(err)
	}
	name, digest := harness.DigestAs(t, b, alice, "alice/hello:"+f.Tag)
	found := "docker://" + b.Host + "/" + name + "@" + digest
	pulled := t.TempDir()
	if err := copied("--authfile", passwords, found, "oci:"+pulled+":pulled"); err != nil {
		t.Fatal(err)
	}
	harness.SameBlobs(t, pulled, f.Dir())
	harness.RunTool(t, program(ctx, "skopeo", "logout", "--authfile", passwords, b.Host))
	if err := copied("--authfile", passwords, found, "oci:"+t.TempDir()+":pulled"); err == nil {
		t.Error("pulls after logout")
	}

	if err := copied("--dest-creds", alice.Name+":"+alice.Secret, here, "docker://"+b.Host+"/alice/again:v1"); err != nil {
		t.Error(err)
	}
	for _, who := range []harness.Account{alice.Wrong(), bob} {
		err := copied("--dest-creds", who.Name+":"+who.Secret, here, "docker://"+b.Host+"/alice/hello:theirs")
		if err == nil || who != bob && !strings.Contains(err.Error(), "unauthorized") {
			t.Errorf("push to alice as %s: %v", who.Name, err)
		}
		if copied("--src-creds", who.Name+":"+who.Secret, found, "oci:"+t.TempDir()+":pulled") == nil {
			t.Errorf("pulls from alice as %s", who.Name)
		}
	}
}
