package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-oci/berth/catalog/index"
)

// TestTeller tells what a request of somebody who sees everything is answered with,
// a few at a time.
func TestTeller(t *testing.T) {
	c := newReal(t)
	begin := c.Last()
	for _, repository := range []string{"alice/app", "alice/app/below", "bob/app", "official/nginx", "bob/app", "bob/app"} {
		c.push(repository, repository, "v1", "alice")
	}
	c.publish("alice/app", index.Update{Untag: []string{"v1"}})
	opts := Options{PublicHost: "registry.example.com"}
	server := serve(t, c, opts)
	for _, test := range []struct {
		namespaces, repositories []string
		types                    []index.ChangeType
		query, want              string
	}{
		{query: "", want: "alice/app alice/app/below bob/app official/nginx bob/app bob/app alice/app"},
		{namespaces: []string{"alice/app", "official"}, query: "namespace=alice/app&namespace=official", want: "alice/app alice/app/below official/nginx alice/app"},
		{repositories: []string{"alice/app", "nginx"}, query: "repository=alice/app&repository=nginx", want: "alice/app official/nginx alice/app"},
		{types: []index.ChangeType{index.Untagged}, query: "type=untag", want: "alice/app"},
		{namespaces: []string{"carol"}, query: "namespace=carol"},
	} {
		teller, err := NewTeller(c, opts, test.namespaces, test.repositories, test.types)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 2, 100} {
			var told, repositories []string
			at := begin
			for {
				some, next, err := teller.After(t.Context(), at, n)
				if err != nil || len(some) > n {
					t.Fatalf("%s: %d came, %v", test.query, len(some), err)
				}
				for _, one := range some {
					told, repositories = append(told, string(one.Data)), append(repositories, one.Repository)
					var object struct{ Type, Revision, Repository string }
					if err := json.Unmarshal(one.Data, &object); err != nil || object.Type != string(one.Type) || object.Revision != one.Revision.String() || object.Repository != one.Repository || one.Time.IsZero() {
						t.Errorf("%s is told as %+v, %v", one.Data, one, err)
					}
				}
				if next == at {
					break
				}
				at = next
			}
			if strings.Join(repositories, " ") != test.want || at != c.Last() {
				t.Errorf("%s: %v up to %s, want %s", test.query, repositories, at, test.want)
			}
			answered := getChanges(t, server.URL+"/v1/changes?since="+begin.String()+"&"+test.query)
			if !reflect.DeepEqual(told, answered) {
				t.Errorf("%s: told %s, and answered %s", test.query, told, answered)
			}
		}
	}
	teller, err := NewTeller(c, opts, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []index.Revision{{Start: begin.Start + 1}, {Start: begin.Start, N: 1 << 40}} {
		if _, _, err := teller.After(t.Context(), at, 1); !errors.Is(err, index.ErrRevision) {
			t.Errorf("after %s: %v", at, err)
		}
	}
	if _, err := NewTeller(c, opts, nil, []string{"Alice"}, nil); err == nil {
		t.Error("what is no repository is taken")
	}
}

// TestTellerOfMany: what an operator configures may name more repositories than a
// query may.
func TestTellerOfMany(t *testing.T) {
	c := newReal(t)
	begin := c.Last()
	c.push("alice/app", "app", "v1", "alice")
	many := []string{"alice/app"}
	for i := range maxNamespaces {
		many = append(many, fmt.Sprintf("bob/app%d", i))
	}
	teller, err := NewTeller(c, Options{}, nil, many, nil)
	if err != nil {
		t.Fatal(err)
	}
	if told, _, err := teller.After(t.Context(), begin, 10); err != nil || len(told) != 1 {
		t.Errorf("%d are told, %v", len(told), err)
	}
}

// getChanges are the objects of an answer, less the bookmark.
func getChanges(t *testing.T, url string) (all []string) {
	t.Helper()
	var answer struct {
		Data struct{ Changes []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(get(t, url, "").raw), &answer); err != nil {
		t.Fatal(err)
	}
	for _, one := range answer.Data.Changes[:len(answer.Data.Changes)-1] {
		all = append(all, string(one))
	}
	return all
}
