package matrix

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// columnNames are the repositories that a table's row has an answer for:
// four that exist, the official ones in both forms, and three that do not, in
// the owner's namespace, in another's, and in one that does not exist either.
var columnNames = []string{
	"alice/app", "bob/secret", "official/nginx", "nginx", "official/utils/tunnel", "utils/tunnel", "alice/none", "bob/none", "zed/none",
}

// errorCodes are the error codes that a letter behind a status stands for.
var errorCodes = map[string]string{
	"U": "UNAUTHORIZED", "D": "DENIED", "N": "NAME_UNKNOWN", "M": "MANIFEST_UNKNOWN", "B": "BLOB_UNKNOWN",
	"P": "BLOB_UPLOAD_UNKNOWN", "I": "BLOB_UPLOAD_INVALID", "X": "UNSUPPORTED", "Z": "NAME_INVALID", "F": "NOT_FOUND",
	"T": "DIGEST_INVALID",
}

// cell is one request and the answer that it must get.
type cell struct {
	route, method, caller string
	column                int
	status                int
	code                  string
}

// readTable reads a table: a line at the margin begins a block, with a route
// and its methods; the lines below have callers and one answer for each column,
// or one for all.
func readTable(t *testing.T, table string, columns int) (cells []cell) {
	t.Helper()
	var route string
	var methods []string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			continue
		case !strings.HasPrefix(line, " "):
			route, methods = fields[0], fields[1:]
			continue
		}
		first := slices.IndexFunc(fields, func(f string) bool { return f[0] >= '1' && f[0] <= '9' })
		callers, answers := fields[:first], fields[first:]
		if callers[0] == "everyone" {
			callers = everyCaller
		}
		if len(answers) == 1 {
			answers = slices.Repeat(answers, columns)
		}
		if len(answers) != columns {
			t.Fatalf("%s: %d answers in %q", route, len(answers), line)
		}
		for _, method := range methods {
			for _, caller := range callers {
				for column, answer := range answers {
					status, err := strconv.Atoi(answer[:3])
					if err != nil || answer[3:] != "" && errorCodes[answer[3:]] == "" {
						t.Fatalf("%s: %q is no answer", route, answer)
					}
					cells = append(cells, cell{route, method, caller, column, status, errorCodes[answer[3:]]})
				}
			}
		}
	}
	return cells
}

// wantWhole wants each route to be asked by each method and caller, once for
// each column.
func wantWhole(t *testing.T, cells []cell, callers []string, columns int) {
	t.Helper()
	asked, routes := map[cell]int{}, map[string]bool{}
	for _, c := range cells {
		routes[c.route] = true
		c.status, c.code = 0, ""
		asked[c]++
	}
	for route := range routes {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"} {
			for _, caller := range callers {
				for column := range columns {
					if n := asked[cell{route: route, method: method, caller: caller, column: column}]; n != 1 {
						t.Errorf("%s %s as %s, column %d: %d times in the table", method, route, caller, column, n)
					}
				}
			}
		}
	}
}

// errorCode is the code of an error in the specification's form, or says that
// there is none.
func errorCode(body []byte) string {
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Errors) != 1 || answer.Errors[0].Message == "" {
		return "no error: " + string(body[:min(200, len(body))])
	}
	return answer.Errors[0].Code
}

// check compares an answer with the table.
func (w *world) check(c cell, what string, a *harness.Answer) {
	w.t.Helper()
	if a.Status != c.status {
		w.t.Errorf("%s: %s %s: %d %.300s, want %d %s", c.caller, c.method, what, a.Status, a.Body, c.status, c.code)
		return
	}
	if c.code != "" && c.method != "HEAD" {
		if code := errorCode(a.Body); code != c.code {
			w.t.Errorf("%s: %s %s: %d %s, want %s", c.caller, c.method, what, a.Status, code, c.code)
		}
	}
	challenge := a.Header.Get("WWW-Authenticate")
	if want := `Bearer realm="` + w.URL + `/token",service="berth"`; a.Status == 401 && !strings.HasPrefix(challenge, want) {
		w.t.Errorf("%s: %s %s: challenged by %q, want %q", c.caller, c.method, what, challenge, want)
	}
	if a.Status != 401 && challenge != "" {
		w.t.Errorf("%s: %s %s: %d and a challenge", c.caller, c.method, what, a.Status)
	}
	if (a.Status == 405) != (a.Header.Get("Allow") != "") {
		w.t.Errorf("%s: %s %s: %d and Allow %q", c.caller, c.method, what, a.Status, a.Header.Get("Allow"))
	}
}

// readAnswer reads an answer from a connection.
func readAnswer(t *testing.T, conn net.Conn, what string) *harness.Answer {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: what[:strings.IndexByte(what, ' ')]})
	if err != nil {
		t.Fatalf("%.200s: %v", what, err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := io.Copy(&body, response.Body); err != nil {
		t.Fatalf("%.200s: %v", what, err)
	}
	return &harness.Answer{Status: response.StatusCode, Header: response.Header, Body: body.Bytes()}
}

// tableV2 is what everyone gets under /v2. Each line has callers, and their
// answers in the order of columnNames.
const tableV2 = `
base GET HEAD
  anonymous expired wrong                        401U
  stranger owner readonly reader writer admin    200
base PUT POST PATCH DELETE OPTIONS
  everyone                                       405X
catalog GET HEAD
  anonymous expired wrong                        401U
  stranger owner readonly reader writer admin    200
catalog PUT POST PATCH DELETE OPTIONS
  everyone                                       405X

tags GET HEAD
  anonymous expired wrong                        401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  owner readonly reader writer                   200  404N 200 200 200 200 404N 404N 404N
  admin                                          200  200  200 200 200 200 404N 404N 404N
tags PUT POST PATCH DELETE OPTIONS
  everyone                                       405X

tag GET HEAD
  anonymous expired wrong                        401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  owner readonly reader                          200  404N 200 200 200 200 404M 404N 404N
  writer                                         200  404N 200 200 200 200 404N 404N 404N
  admin                                          200  200  200 200 200 200 404M 404M 404M
tag PUT
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          201  403D 403D 403D 403D 403D 201  403D 403D
  writer                                         201  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          201
tag DELETE
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          202  403D 403D 403D 403D 403D 404M 403D 403D
  writer                                         202  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          202  202  202  202  202  202  404M 404M 404M
tag POST PATCH OPTIONS
  everyone                                       405X

digest GET HEAD
  anonymous expired wrong                        401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  owner readonly reader                          200  404N 200 200 200 200 404M 404N 404N
  writer                                         200  404N 200 200 200 200 404N 404N 404N
  admin                                          200  200  200 200 200 200 404M 404M 404M
digest PUT
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          201  403D 403D 403D 403D 403D 201  403D 403D
  writer                                         201  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          201
digest DELETE
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          202  403D 403D 403D 403D 403D 404M 403D 403D
  writer                                         202  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          202  202  202  202  202  202  404M 404M 404M
digest POST PATCH OPTIONS
  everyone                                       405X

blob GET HEAD
  anonymous expired wrong                        401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  owner readonly reader                          200  404N 200 200 200 200 404B 404N 404N
  writer                                         200  404N 200 200 200 200 404N 404N 404N
  admin                                          200  200  200 200 200 200 404B 404B 404B
blob DELETE
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          202  403D 403D 403D 403D 403D 404B 403D 403D
  writer                                         202  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          202  202  202  202  202  202  404B 404B 404B
blob PUT POST PATCH OPTIONS
  everyone                                       405X

referrers GET HEAD
  anonymous expired wrong                        401U
  stranger                                       404N 404N 200 200 200 200 404N 404N 404N
  owner readonly reader                          200  404N 200 200 200 200 200  404N 404N
  writer                                         200  404N 200 200 200 200 404N 404N 404N
  admin                                          200
referrers PUT POST PATCH DELETE OPTIONS
  everyone                                       405X

uploads POST
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          202  403D 403D 403D 403D 403D 202  403D 403D
  writer                                         202  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          202
uploads GET HEAD PUT PATCH DELETE OPTIONS
  everyone                                       405X

single POST
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          201  403D 403D 403D 403D 403D 201  403D 403D
  writer                                         201  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          201
single GET HEAD PUT PATCH DELETE OPTIONS
  everyone                                       405X

mount POST
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          201  403D 403D 403D 403D 403D 201  403D 403D
  writer                                         201  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          201
mount GET HEAD PUT PATCH DELETE OPTIONS
  everyone                                       405X

session GET HEAD DELETE
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          204  403D 403D 403D 403D 403D 204  403D 403D
  writer                                         204  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          204
session PATCH
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          202  403D 403D 403D 403D 403D 202  403D 403D
  writer                                         202  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          202
session PUT
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          201  403D 403D 403D 403D 403D 201  403D 403D
  writer                                         201  403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          201
session POST OPTIONS
  everyone                                       405X

nosession GET HEAD DELETE
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          404P 403D 403D 403D 403D 403D 404P 403D 403D
  writer                                         404P 403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          404P
nosession PUT PATCH
  anonymous expired wrong                        401U
  stranger readonly reader                       403D
  owner                                          404I 403D 403D 403D 403D 403D 404I 403D 403D
  writer                                         404I 403D 403D 403D 403D 403D 403D 403D 403D
  admin                                          404I
nosession POST OPTIONS
  everyone                                       405X

unknown GET HEAD PUT POST PATCH DELETE OPTIONS
  everyone                                       404F
`

// formOf is a form as a browser writes it.
func formOf(fields map[string]string) string {
	values := url.Values{}
	for name, value := range fields {
		values.Set(name, value)
	}
	return values.Encode()
}
