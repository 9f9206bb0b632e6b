package matrix

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// tableOfMounts is what comes of mounting into a repository of one's own, by
// where the blob is: 201 is a mount, 202 an upload as if there were no blob.
const tableOfMounts = `
from POST
  anonymous expired wrong       401U
  stranger                      202 202 201 201 201 201 202 202 202
  owner reader writer           201 202 201 201 201 201 202 202 202
  readonly                      403D
  admin                         201 201 201 201 201 201 202 202 202
anywhere POST
  anonymous expired wrong       401U
  stranger                      202 202 201 201 201 201 202 202 202
  owner reader writer           201 202 201 201 201 201 202 202 202
  readonly                      403D
  admin                         201 201 201 201 201 201 202 202 202
`

func TestMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, c := range readTable(t, tableOfMounts, len(columnNames)) {
		source := columnNames[c.column]
		blob := harness.Digest([]byte("nowhere"))
		if image, ok := w.images[longName(source)]; ok {
			blob = harness.Digest(image.Blobs[1])
		}
		own := accountOf[c.caller]
		if own == "" {
			own = "mallory"
		}
		into := fmt.Sprintf("/v2/%s/mount%d/blobs/", own, i)
		target := into + "uploads/?mount=" + blob
		if c.route == "from" {
			target += "&from=" + source
		}
		w.mounted(c, into, target, blob, w.ask(c.caller, c.method, target, nil))
	}
}

// mounted checks the answer to a mount, and that the blob is there only if it
// was mounted.
func (w *world) mounted(c cell, into, what, blob string, a *harness.Answer) {
	w.t.Helper()
	w.check(c, what, a)
	want := http.StatusNotFound
	if c.status == 201 {
		want = http.StatusOK
		if a.Header.Get("Location") != into+blob || a.Header.Get("Docker-Content-Digest") != blob {
			w.t.Errorf("%s: %s: Location %q, digest %q", c.caller, what, a.Header.Get("Location"), a.Header.Get("Docker-Content-Digest"))
		}
	} else if a.Header.Get("Docker-Content-Digest") != "" || a.Status == 202 && len(a.Body) > 0 {
		w.t.Errorf("%s: %s: an upload begins with %v %s", c.caller, what, a.Header, a.Body)
	}
	if got := w.ask("admin", "HEAD", into+blob, nil); got.Status != want {
		w.t.Errorf("%s: %s: afterwards the blob is %d, want %d", c.caller, what, got.Status, want)
	}
}

// parameterWays are parameters of a POST in the query, in a form, and in a
// multipart body, and which blob is mounted by them: only the query counts. S
// stands for bob's blob, N for nginx's, X for one that does not exist.
var parameterWays = []struct{ query, form, multipart, mounts string }{
	{"mount=N&from=nginx", "", "", "N"},
	{"mount=N&from=official/nginx", "", "", "N"},
	{"from=official%2Fnginx&mount=sha256%3AN", "", "", "N"},
	{"mount=N", "", "", "N"},
	{"mount=N&from=", "", "", "N"},
	{"", "mount=N&from=nginx", "", ""},
	{"", "", "mount=N&from=nginx", ""},
	{"", "mount=N", "", ""},
	{"", "", "mount=N", ""},
	{"", "mount=S&from=bob/secret", "", ""},
	{"", "", "mount=S&from=bob/secret", ""},
	{"mount=N&from=nginx", "mount=S&from=bob/secret", "", "N"},
	{"mount=N&from=nginx", "", "mount=S&from=bob/secret", "N"},
	{"mount=N", "from=bob/secret", "", "N"},
	{"mount=N", "", "from=bob/secret", "N"},
	{"from=nginx", "mount=N", "", ""},
	{"from=nginx", "", "mount=N", ""},
	{"mount=S", "from=bob/secret", "", ""},
	{"mount=S", "", "from=bob/secret", ""},
	{"from=bob/secret", "mount=S", "", ""},
	{"mount=S&from=nginx", "from=bob/secret", "", ""},
	{"mount=S&from=nginx", "", "from=bob/secret", ""},
	{"mount=S&from=bob/secret", "", "", ""},
	{"mount=S&from=bob%2Fsecret", "mount=N&from=nginx", "", ""},
	{"mount=S&from=bob/secret", "", "mount=N&from=nginx", ""},
	{"mount=S", "", "", ""},
	{"mount=S&from=nginx", "", "", ""},
	{"mount=X&from=nginx", "", "", ""},
	{"mount=X", "mount=N", "", ""},
	{"mount=N&mount=S&from=nginx", "", "", "N"},
	{"mount=S&mount=N&from=nginx", "", "", ""},
	{"mount=N&from=nginx&from=bob/secret", "", "", "N"},
	{"mount=N&from=bob/secret&from=nginx", "", "", ""},
	{"mount=S&from=nginx&from=bob/secret", "", "", ""},
	{"mount=N;from=nginx", "", "", ""},
	{"mount=S&from=BOB/secret", "", "", ""},
	{"mount=S&from=bob//secret", "", "", ""},
	{"mount=S&from=/bob/secret", "", "", ""},
	{"mount=S&from=bob/secret/", "", "", ""},
	{"mount=S&from=nginx/../../bob/secret", "", "", ""},
	{"mount=S&from=official/../bob/secret", "", "", ""},
	{"mount=S&from=official/bob/secret", "", "", ""},
	{"mount=S&from=localhost:5000/bob/secret", "", "", ""},
	{"mount=S&from=bob/secret%00", "", "", ""},
	{"mount=S&from=bob/secret@S", "", "", ""},
	{"mount=sha256:short&from=nginx", "mount=N", "", ""},
	{"mount=&from=nginx", "mount=N", "", ""},
	{"MOUNT=N&FROM=nginx", "", "", ""},
	{"", "digest=S&mount=S&from=bob/secret", "", ""},
	{"", "", "digest=S", ""},
	// A mount that comes to nothing is the beginning of an upload, and no
	// single request: whoever may not read the source sees the same.
	{"mount=X&from=nginx&digest=S", "", "", ""},
	{"mount=S&from=nginx&digest=S", "", "", ""},
	{"mount=S&from=bob/secret&digest=S", "", "", ""},
	{"mount=S&from=bob/absent&digest=S", "", "", ""},
	{"mount=S&digest=S", "", "", ""},
	{"mount=N&from=nginx&digest=S", "", "", "N"},
}

var formTypes = []string{"application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded; charset=utf-8", "application/x-www-form-urlencoded;"}

func TestParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	digests := map[string]string{
		"S": harness.Digest(w.images["bob/secret"].Blobs[1]), "N": harness.Digest(w.images["official/nginx"].Blobs[1]), "X": harness.Digest([]byte("nowhere")),
	}
	fill := func(text string) string {
		for letter, digest := range digests {
			for _, before := range []string{"mount=", "digest=", "@"} {
				if strings.HasPrefix(strings.ToLower(before), "mount") {
					text = strings.ReplaceAll(text, "MOUNT="+letter, "MOUNT="+digest)
				}
				text = strings.ReplaceAll(text, before+letter, before+digest)
			}
			text = strings.ReplaceAll(text, "%3A"+letter, strings.Replace(digest, "sha256:", "%3A", 1))
		}
		return text
	}
	var refused []string
	for i, row := range parameterWays {
		for j, formType := range formTypes {
			into := fmt.Sprintf("/v2/mallory/p%dx%d/blobs/", i, j)
			target := into + "uploads/?" + fill(row.query)
			var body, contentType string
			switch {
			case row.form != "":
				body, contentType = fill(row.form), formType
			case row.multipart != "":
				body, contentType = multipartOf(fill(row.multipart)), []string{"multipart/form-data; boundary=x", "Multipart/Form-Data; boundary=\"x\"", "multipart/mixed; boundary=x"}[j]
			case j > 0:
				continue
			}
			a := w.ask("stranger", "POST", target, body, "Content-Type", contentType)
			what := fmt.Sprintf("%s %s %s", row.query, row.form, row.multipart)
			c := cell{method: "POST", caller: "stranger", status: 202}
			if row.mounts != "" {
				c.status = 201
				w.mounted(c, into, what, digests[row.mounts], a)
			} else {
				// Like an upload that mentions no blob at all.
				refused = append(refused, shapeOf(a))
				w.mounted(c, into, what, digests["N"], a)
			}
			if got := w.ask("admin", "HEAD", into+digests["S"], nil); got.Status != 404 {
				t.Errorf("%s: bob's blob is %d", what, got.Status)
			}
		}
	}
	plain := shapeOf(w.ask("stranger", "POST", "/v2/mallory/plain/blobs/uploads/", nil))
	for _, shape := range refused {
		if shape != plain {
			t.Errorf("a refused mount is answered with\n%s\nand a plain upload with\n%s", shape, plain)
		}
	}
}

// shapeOf is an answer but for the parts that are random.
func shapeOf(a *harness.Answer) string {
	var lines []string
	for name, values := range a.Header {
		switch value := values[0]; name {
		case "Date", "X-Request-Id", "Docker-Upload-Uuid":
			lines = append(lines, name)
		case "Location":
			before, _, _ := strings.Cut(value, "/uploads/")
			_, rest, _ := strings.Cut(before, "/v2/mallory/")
			_, rest, _ = strings.Cut(rest, "/")
			lines = append(lines, name+": "+rest)
		default:
			lines = append(lines, name+": "+value)
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d\n%s\n%s", a.Status, strings.Join(lines, "\n"), a.Body)
}

func multipartOf(form string) string {
	var b strings.Builder
	for field := range strings.SplitSeq(form, "&") {
		name, value, _ := strings.Cut(field, "=")
		fmt.Fprintf(&b, "--x\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", name, value)
	}
	return b.String() + "--x--\r\n"
}

// TestUploadBodies closes and continues uploads with bodies that look
// like forms: they are the blob's content and nothing else.
func TestUploadBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begin := func() (string, string) {
		u := w.location(w.ask("stranger", "POST", "/v2/mallory/app/blobs/uploads/", nil))
		return u.Path, u.RawQuery
	}
	secret := harness.Digest(w.images["bob/secret"].Blobs[1])
	other := w.session("bob/secret")
	for _, multipart := range []bool{false, true} {
		for i, contentType := range formTypes {
			form := func(text string) string {
				if multipart {
					contentType = "multipart/form-data; boundary=x"
					return multipartOf(text)
				}
				return text
			}
			check := func(status int, code, method, target, body string) {
				t.Helper()
				a := w.ask("stranger", method, target, body, "Content-Type", contentType)
				w.check(cell{method: method, caller: "stranger", status: status, code: code}, fmt.Sprintf("%s with %q", target, body), a)
			}
			path, state := begin()
			body := form(fmt.Sprintf("digest=%s&n=%d", secret, i))
			check(400, "DIGEST_INVALID", "PUT", path+"?"+state, body)
			path, state = begin()
			check(201, "", "PUT", path+"?"+state+"&digest="+harness.Digest([]byte(body)), body)
			if a := w.ask("stranger", "GET", "/v2/mallory/app/blobs/"+harness.Digest([]byte(body)), nil); a.Status != 200 || string(a.Body) != body {
				t.Errorf("a body that looks like a form was stored as %d %q", a.Status, a.Body)
			}
			path, state = begin()
			check(400, "DIGEST_INVALID", "PUT", path+"?"+state+"&digest="+secret, body)
			single := body + " at once"
			check(201, "", "POST", "/v2/mallory/app/blobs/uploads/?digest="+harness.Digest([]byte(single)), single)
			check(400, "DIGEST_INVALID", "POST", "/v2/mallory/app/blobs/uploads/?digest="+secret, single)
			path, state = begin()
			check(404, "BLOB_UPLOAD_INVALID", "PUT", path+"?digest="+harness.Digest([]byte("x")), form(state+"&digest="+harness.Digest([]byte("x"))))
			check(404, "BLOB_UPLOAD_INVALID", "PATCH", path, form(state))
			check(202, "", "PATCH", path+"?"+state, form("_state=bad&digest=bad"))
			// The state of another's upload, at one's own and at its own address.
			path, _ = begin()
			check(404, "BLOB_UPLOAD_INVALID", "PATCH", path+"?"+other.RawQuery, "x")
			theirs := strings.Replace(other.Path, "bob/secret", "mallory/app", 1)
			check(404, "BLOB_UPLOAD_INVALID", "PATCH", theirs+"?"+other.RawQuery, "x")
			check(404, "BLOB_UPLOAD_UNKNOWN", "DELETE", theirs+"?"+other.RawQuery, "")
			check(404, "BLOB_UPLOAD_UNKNOWN", "GET", theirs, "")
			check(403, "DENIED", "GET", other.Path, "")
		}
	}
}
