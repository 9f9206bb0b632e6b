//go:build unix

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestReadme follows README in a fresh clone: berth is built from its sources.
func TestReadme(t *testing.T) {
	harness.Require(t, "skopeo")
	t.Parallel()
	clone := cloned(t)
	const hello = `127.0.0.1:5000/alice/hello@sha256:`
	host := harness.FreeAddress(t)
	own := strings.Replace(hello, "127.0.0.1:5000", host, 1)
	log := guide{file: "README.md", dir: clone, host: host, after: untilPrinted("stable")}.follow(t, []shown{
		{"go run ./cmd/berth serve", nil, nil},
		{"docker://127.0.0.1:5000/alice/hello:latest\n", nil, nil},
		{"images ls", []string{"NAME         TAGS    CREATED           SIZE      PLATFORMS    DIGEST\nalice/hello  latest  2026-11-21 19:27 ", "args       /server -p 8080"}, nil},
		{"namespace=alice&tagged", []string{own, `"args":["/server","-p","8080"]`}, []string{"error"}},
		{"images watch", nil, nil},
		{"hello:latest stable", []string{"/alice/hello:stable is sha256:"}, nil},
		{"oci:hello:latest", nil, nil},
		{"account add alice", []string{"berth_", "docker login"}, nil},
		{"%{http_code}", []string{"401\n"}, nil},
		{untilPrinted("stable"), []string{"Watching " + host + "; Ctrl-C ends it.\n", "  tag     alice/hello@sha256:", "  +stable\n"}, []string{"error"}},
	})
	if blobs := harness.BlobsOf(t, filepath.Join(clone, "hello")); len(blobs) != 5 {
		t.Errorf("%d blobs were pulled", len(blobs))
	}
	if !strings.Contains(log, "serves http://"+host) || !strings.Contains(log, "stopping") {
		t.Errorf("berth was not started and stopped as README says:\n%s", log)
	}
}

// untilPrinted waits until a terminal of its own shows something, and shows all of it.
func untilPrinted(text string) string {
	return "until grep -q '" + text + "' " + printed + "; do kill -0 $PRINTER; sleep 0.1; done\ncat " + printed + "\n"
}

// TestWebhooks follows the document on webhooks in a fresh clone.
func TestWebhooks(t *testing.T) {
	harness.Needs(t, "openssl", "od", "base64")
	t.Parallel()
	guide{file: "catalog/webhook/README.md", dir: cloned(t), host: harness.FreeAddress(t), receiver: harness.FreeAddress(t), after: untilPrinted("stable")}.follow(t, []shown{
		{"test/receiver", nil, nil},
		{"berth serve", nil, nil},
		{"images tag", []string{"/alice/hello:stable is sha256:"}, nil},
		{"TIMESTAMP", []string{"rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=\n"}, nil},
		{untilPrinted("stable"), []string{"list the images, and then follow what comes after ", "push alice/hello sha256:", "  v1 is \"sha256:", "tag alice/hello sha256:", "  stable is \"sha256:"}, []string{"refused"}},
	})
}

// cloned is a folder with the module's files, as git makes one.
func cloned(t *testing.T) string {
	t.Helper()
	root, clone := harness.Root(), harness.SameFolder(t, t.Name())
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		to := filepath.Join(clone, name)
		switch {
		case entry.IsDir() && (name == ".git" || name == "berth-data" || name == "dist" || name == "results"):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(to, 0o700)
		case !entry.Type().IsRegular() || name == ".git" || name == "berth" || name == "conformance":
			return nil
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return clone
}

// TestConfiguration follows the document on the configuration, in an empty
// folder.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	guide{file: "config/README.md", dir: dir, host: harness.FreeAddress(t)}.follow(t, []shown{
		{"berth config check", []string{"level: warn", "level: debug", "format: json"}, nil},
	})
	if _, err := os.Stat(filepath.Join(dir, "berth-data")); err == nil {
		t.Error("to check a configuration makes a data folder")
	}
}

// TestRulesGuide follows the document on the rules.
func TestRulesGuide(t *testing.T) {
	harness.Require(t, "skopeo")
	t.Parallel()
	guide{
		file: "catalog/rules/README.md", dir: folderWithImages(t), host: harness.FreeAddress(t),
		before: map[string]string{"--dry-run": `
skopeo copy --all --dest-tls-verify=false oci:test/testdata/kraft-hello:latest docker://127.0.0.1:5000/bob/hello:v1
curl -fs -H 'Accept: application/vnd.oci.image.index.v1+json' -o manifest.json http://127.0.0.1:5000/v2/bob/hello/manifests/v1
for i in 1 2 3 4 5 6 7 8; do
	curl -fs -T manifest.json -H 'Content-Type: application/vnd.oci.image.index.v1+json' http://127.0.0.1:5000/v2/bob/hello/manifests/nightly-$i
done
`},
	}.follow(t, []shown{
		{"cat > berth.yaml", nil, nil},
		{"--dry-run", []string{
			"bob/hello:nightly-1: not among the last 7 [rules.default.tags[1]]\n1 repository with rules: 1 tag and 0 manifests to be removed\n",
			`"tag": "nightly-1"`, `"tags": 1`,
		}, []string{"nightly-2"}},
	})
}

// TestImagesAPI follows the document on the images API.
func TestImagesAPI(t *testing.T) {
	harness.Require(t, "skopeo")
	harness.Needs(t, "openssl")
	t.Parallel()
	b := harness.Start(t)
	const found, v1 = `/alice/hello@sha256:`, `"tags":["alice/hello:latest"]`
	guide{file: "catalog/images/README.md", dir: folderWithImages(t), host: b.Host}.follow(t, []shown{
		{"skopeo copy", nil, nil},
		{"/v1/images/list", []string{found, v1}, []string{"error"}},
		{"tagged\"\n", []string{found, `"status":"success"`, `"status":"partial_success"`, `"error":8,"tag":"alice/none:v1"`}, []string{`"images":[]`}},
		{"count=2&order=desc", []string{found}, []string{`"images":[]`, "error"}},
		{"/v1/changes\"", []string{`"data":{"changes":[{"type":"bookmark","revision":"`}, []string{"error"}},
		{"openssl req", []string{"Added the administrator root", "Added the account carol", "index_host: index.fra.lan", "certificate: metro/tls.crt"}, nil},
	})
}

// TestOperation follows the document on operation. Between starting berth and
// stopping it for the backup, it is closed and gets an image.
func TestOperation(t *testing.T) {
	harness.Require(t, "skopeo")
	harness.Needs(t, "tar")
	t.Parallel()
	dir := folderWithImages(t)
	const hello = `/root/hello@sha256:`
	log := guide{
		file: "cmd/berth/README.md", dir: dir, host: harness.FreeAddress(t),
		before: map[string]string{"/metrics": "curl -fs http://127.0.0.1:5000/v1/images", "tar -C berth-data": `
ROOT=$(berth account add root --admin --output json | sed -n 's/.*"token": "\(.*\)".*/\1/p')
skopeo copy --all --dest-tls-verify=false --dest-creds "root:$ROOT" oci:test/testdata/kraft-hello:latest docker://127.0.0.1:5000/root/hello:latest
stop`},
		after: `curl -u "root:$ROOT" http://127.0.0.1:5000/v1/images
skopeo copy --all --src-tls-verify=false --src-creds "root:$ROOT" docker://127.0.0.1:5000/root/hello:latest oci:restored-hello:latest
tar -tzf backup.tar.gz
`,
	}.follow(t, []shown{
		{"cat > berth.yaml", nil, nil},
		{"/readyz", []string{"ready\n"}, []string{"not ready"}},
		{"/metrics", []string{"berth_http_requests_total{", "berth_http_request_duration_seconds_count{", "berth_http_received_bytes_total ",
			"berth_http_sent_bytes_total ", "berth_index_operations_total{", "berth_index_operation_duration_seconds_count{",
			`berth_images{kind="unikernel"} 0`, `berth_images{kind="rom"} 0`, `berth_repositories{kind="unikernel"} 0`,
			`berth_repositories{kind="other"} 0`, "berth_manifests 0", "berth_shed_requests_total{", "berth_connections ", "berth_requests_in_flight{", "berth_limit{", "berth_build_info{", "go_", "process_"}, nil},
		{"berth images cp", []string{"me/hello:v1: 5 parts copied", "args       /server -p 8080", "me/hello:stable is sha256:", "/me/hello:stable.\n"}, []string{"hint"}},
		{"tar -C berth-data", nil, nil},
		{"mkdir restored", []string{"restored/accounts.yaml\n", "restored/upload.secret\n"}, nil},
		{"--data restored", nil, nil},
		{"%{http_code}", []string{"401\n"}, nil},
		{"restored-hello", []string{hello, "./accounts.yaml\n", "./audit.jsonl\n", "./upload.secret\n"}, []string{"catalog.db", "berth.lock"}},
	})
	if blobs := harness.BlobsOf(t, filepath.Join(dir, "restored-hello")); len(blobs) != 5 {
		t.Errorf("%d blobs were pulled from what was restored", len(blobs))
	}
	for _, file := range []string{"upload.secret", "accounts.yaml"} {
		before, err := os.ReadFile(filepath.Join(dir, "berth-data", file))
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(filepath.Join(dir, "restored", file))
		if err != nil || string(after) != string(before) {
			t.Errorf("%s is not what was put away: %v", file, err)
		}
	}
	audit, err := os.ReadFile(filepath.Join(dir, "restored", "audit.jsonl"))
	if err != nil || !strings.Contains(string(audit), `"action":"push"`) {
		t.Errorf("the audit log is not what was put away: %s, %v", audit, err)
	}
	if !strings.Contains(log, "index built from storage") {
		t.Errorf("the index of what was restored was not built:\n%s", log)
	}
}
