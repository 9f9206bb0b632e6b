package config

import (
	"slices"
	"strings"
	"testing"
)

// TestMetros writes them in each way that is taken.
func TestMetros(t *testing.T) {
	want := Metros{{"fra", "de", "https://api.fra.example.com"}, {"dal-1", "", "http://10.0.0.1:5000/berth"}}
	for _, c := range []*Config{
		load(t, "http: {metros: ['fra/de=https://api.fra.example.com', 'dal-1=http://10.0.0.1:5000/berth']}"),
		load(t, "http: {metros: 'fra/de=https://api.fra.example.com, dal-1=http://10.0.0.1:5000/berth,'}"),
		load(t, "", "BERTH_HTTP_METROS=fra/de=https://api.fra.example.com,dal-1=http://10.0.0.1:5000/berth"),
	} {
		if !slices.Equal(c.HTTP.Metros, want) {
			t.Errorf("got %q", c.HTTP.Metros)
		}
		var printed strings.Builder
		if err := c.Write(&printed); err != nil {
			t.Fatal(err)
		}
		if again := load(t, printed.String()); !slices.Equal(again.HTTP.Metros, want) {
			t.Errorf("printed and read again: %q", again.HTTP.Metros)
		}
	}
	for _, text := range []string{"fra", "https://api.fra.example.com", "=https://a.example.com", "Fra=https://a.example.com", "fra/deu=https://a.example.com", "fra/=https://a.example.com"} {
		_, err := Load(write(t, "http: {metros: '"+text+"'}"), nil)
		if err == nil || !strings.Contains(err.Error(), "http.metros") || !strings.Contains(err.Error(), "like fra=https://api.fra.example.com") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestPlacesRefused gives metros and an index that nobody would find.
func TestPlacesRefused(t *testing.T) {
	for text, says := range map[string]string{
		"metros: ['fra=api.fra.example.com']":                      "http.metros: the URL of fra does not begin with http:// or https://; it is scheme and host of the metro's API, like fra=https://api.fra.example.com",
		"metros: ['fra=htps://api.fra.example.com']":               "the URL of fra does not begin with http",
		"metros: ['fra=']":                                         "the URL of fra does not begin with http",
		"metros: ['fra=https://']":                                 "the URL of fra has no host",
		"metros: ['fra=https://api.fra.example.com/']":             "the URL of fra has a path that is not like /registry",
		"metros: ['fra=https://me:secret@api.fra.example.com']":    "the URL of fra holds a user or password",
		"metros: ['fra=https://a.example.com:99999']":              "the URL of fra has a port",
		"metros: ['fra=https://a.example.com?x=1']":                "the URL of fra has a query",
		"metros: ['fra=http://a.example', 'fra=http://b.example']": "fra is there twice",
		"index_host: 'https://index.fra.example.com'":              "http.index_host: \"https://index.fra.example.com\" is not the name of a host; it is what stands in front of an image's name, like index.fra.example.com",
		"index_host: 'index.fra.example.com/official'":             "is not the name of a host",
		"index_host: 'index fra'":                                  "is not the name of a host",
		"index_host: 'index.fra.example.com:99999'":                "is not the name of a host",
	} {
		err := load(t, "http: {"+text+"}").Validate()
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"metros: ['fra=https://api.fra.example.com']", "index_host: index.fra.example.com", "index_host: 'index.fra.lan:5000'"} {
		if err := load(t, "http: {"+text+"}").Validate(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
