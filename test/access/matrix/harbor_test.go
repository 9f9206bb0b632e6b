package matrix

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// tableOfProjects and tableOfRepositories are the two routes of the Harbor API. A
// summary's columns are projects, a deletion's are repositories below those of
// columnNames.
const tableOfProjects = `
summary GET
  anonymous expired wrong     401U
  stranger                    404N 404N 200 404N
  owner readonly reader       200  404N 200 404N
  writer                      404N 404N 200 404N
  admin                       200
summary HEAD PUT POST PATCH DELETE OPTIONS
  everyone                    405X
`

const tableOfRepositories = `
delete DELETE
  anonymous expired wrong     401U
  stranger readonly reader    403D
  owner                       200  403D 403D 403D 404N 403D 403D
  writer                      200  403D 403D 403D 403D 403D 403D
  admin                       200  200  200  200  404N 404N 404N
delete GET HEAD PUT POST PATCH OPTIONS
  everyone                    405X
`

func TestHarbor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	projects := []string{"alice", "bob", "official", "zed"}
	cells := readTable(t, tableOfProjects, len(projects))
	wantWhole(t, cells, everyCaller, len(projects))
	for _, c := range cells {
		for _, form := range []string{"%s", "robot$%s.users.kraftcloud", "robot%%24%s.users.kraftcloud", "%s.users.kraftcloud"} {
			target := "/api/v2.0/projects/" + fmt.Sprintf(form, projects[c.column]) + "/summary"
			w.check(c, target, w.ask(c.caller, c.method, target, nil))
		}
	}

	repositories := []string{"alice/app", "bob/secret", "official", "official/utils", "alice/none", "bob/none", "zed/none"}
	cells = readTable(t, tableOfRepositories, len(repositories))
	wantWhole(t, cells, everyCaller, len(repositories))
	image := harness.JSON(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIIndex, "manifests": []any{}})
	for i, c := range cells {
		repository := fmt.Sprintf("%s/gone%d", repositories[c.column], i)
		if c.column < 4 {
			w.must(201, "PUT", "/v2/"+repository+"/manifests/v1", image, "Content-Type", harness.OCIIndex)
		}
		project, name, _ := strings.Cut(repository, "/")
		name = strings.ReplaceAll(name, "/", []string{"%2F", "%252F"}[i%2])
		target := "/api/v2.0/projects/" + project + "/repositories/" + name
		w.check(c, target, w.ask(c.caller, c.method, target, nil))
		want := 404
		if c.column < 4 && c.status != 200 {
			want = 200
		}
		if a := w.ask("admin", "GET", "/v2/"+repository+"/manifests/v1", nil); a.Status != want {
			t.Errorf("%s: %s %s: afterwards its image is %d, want %d", c.caller, c.method, target, a.Status, want)
		}
	}
}

// tableOfTokens is the token endpoint, by its methods; POST is without a form.
const tableOfTokens = `
token GET HEAD POST
  anonymous                                    200
  expired wrong                                401U
  stranger owner readonly reader writer admin  200
token PUT PATCH DELETE OPTIONS
  everyone                                     405X
`

func TestToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cells := readTable(t, tableOfTokens, 1)
	wantWhole(t, cells, everyCaller, 1)
	for _, c := range cells {
		for turn := range 2 { // Basic and the platform's Bearer
			header := []string{}
			if value := w.authorization(c.caller, turn); value != "" {
				header = []string{"Authorization: " + value}
			}
			bad := "anonymous"
			if c.status == 401 {
				bad = "wrong"
			}
			a := w.wireAs(bad, c.method, "/token?scope=repository:bob/secret:pull,push&account=root", header...)
			if code := errorCode(a.Body); a.Status != c.status || c.code != "" && c.method != "HEAD" && code != c.code {
				t.Errorf("%s: %s /token: %d %s, want %d %s", c.caller, c.method, a.Status, code, c.status, c.code)
			}
		}
	}
	forms := map[string]struct {
		form   map[string]string
		status int
	}{
		"owner's":       {map[string]string{"grant_type": "password", "username": "alice", "password": w.secrets["owner"]}, 200},
		"another's":     {map[string]string{"grant_type": "password", "username": "bob", "password": w.secrets["owner"]}, 401},
		"expired":       {map[string]string{"grant_type": "password", "username": "alice", "password": w.secrets["expired"]}, 401},
		"no password":   {map[string]string{"grant_type": "password", "username": "alice"}, 400},
		"refresh token": {map[string]string{"grant_type": "refresh_token", "refresh_token": w.secrets["owner"]}, 400},
	}
	for what, f := range forms {
		a := w.ask("anonymous", "POST", "/token", formOf(f.form), "Content-Type", "application/x-www-form-urlencoded")
		if a.Status != f.status {
			t.Errorf("%s form: %d, want %d", what, a.Status, f.status)
		}
	}
	// What a password in the address is worth, and a signed token for another.
	a := w.ask("anonymous", "GET", "/token?grant_type=password&username=alice&password="+w.secrets["owner"], nil)
	if a.Status != 200 {
		t.Errorf("a password in the address: %d", a.Status)
	}
	if a = w.wireAs("wrong", "GET", "/token", "Authorization: Bearer "+w.token("owner")); a.Status != 401 {
		t.Errorf("a signed token for a signed token: %d, want 401", a.Status)
	}
}
