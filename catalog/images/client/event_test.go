package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const eventSecret = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="

// sent is a request with an event, signed.
func sent(body string, at time.Time, change func(name, value string) string) (*Event, error) {
	key, _ := base64.StdEncoding.DecodeString(eventSecret)
	mac := hmac.New(sha256.New, key)
	stamp := fmt.Sprint(at.Unix())
	mac.Write([]byte("s.1." + stamp + "." + body))
	r := httptest.NewRequest("POST", "/", strings.NewReader(change("body", body)))
	r.Header.Set("webhook-id", change("id", "s.1"))
	r.Header.Set("webhook-timestamp", change("timestamp", stamp))
	r.Header.Set("webhook-signature", change("signature", "v1a,x v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))))
	e, err := ReadEvent(r, "whsec_"+base64.StdEncoding.EncodeToString([]byte("another, which is no longer used")), eventSecret)
	return &e, err
}

func TestReadEvent(t *testing.T) {
	const body = `{"specversion":"1.0","id":"s.1","source":"/v1/changes","type":"io.github.berth-oci.push","subject":"a/b","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json",` +
		`"data":{"type":"push","revision":"s.1","repository":"a/b","tags":[{"name":"v1","digest":"sha256:00"}]}}`
	as := func(_, value string) string { return value }
	e, err := sent(body, time.Now(), as)
	if err != nil || e.ID != "s.1" || e.Source != "/v1/changes" || e.Change.Type != TypePush || e.Change.Repository != "a/b" || e.Change.Tags[0].Name != "v1" {
		t.Errorf("got %+v, %v", e, err)
	}
	for name, test := range map[string]struct {
		at     time.Time
		part   string
		change func(string) string
		want   error
	}{
		"another body":  {time.Now(), "body", func(s string) string { return strings.Replace(s, "v1", "v2", 1) }, ErrSignature},
		"another ID":    {time.Now(), "id", func(string) string { return "s.2" }, ErrSignature},
		"another time":  {time.Now(), "timestamp", func(string) string { return fmt.Sprint(time.Now().Unix() + 1) }, ErrSignature},
		"no time":       {time.Now(), "timestamp", func(string) string { return "" }, ErrSignature},
		"long ago":      {time.Now().Add(-6 * time.Minute), "", nil, ErrSignature},
		"to come":       {time.Now().Add(6 * time.Minute), "", nil, ErrSignature},
		"unsigned":      {time.Now(), "signature", func(string) string { return "" }, ErrSignature},
		"another form":  {time.Now(), "signature", func(s string) string { return strings.ReplaceAll(s, "v1,", "v2,") }, ErrSignature},
		"half of it":    {time.Now(), "signature", func(s string) string { return s[:len(s)/2] }, ErrSignature},
		"a bit is lost": {time.Now(), "signature", func(s string) string { return strings.Replace(s, "v1,", "v1,AAAA", 1) }, ErrSignature},
	} {
		_, err := sent(body, test.at, func(part, value string) string {
			if part == test.part {
				return test.change(value)
			}
			return value
		})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "{", "[]", `{"specversion":"1.0"}`, strings.Replace(body, "berth-oci.push", "berth-oci.tag", 1), strings.Replace(body, `"id":"s.1"`, `"id":"s.2"`, 1), strings.Replace(body, `"revision":"s.1",`, "", 1)} {
		if _, err := sent(text, time.Now(), as); !errors.Is(err, ErrEvent) {
			t.Errorf("%s: %v", text, err)
		}
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat(" ", mostEvent+1)))
	if _, err := ReadEvent(r, eventSecret); !errors.Is(err, ErrEvent) {
		t.Errorf("a large one: %v", err)
	}
	r = httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("webhook-timestamp", fmt.Sprint(time.Now().Unix()))
	for _, secrets := range [][]string{nil, {""}, {"not base64"}} {
		if _, err := ReadEvent(r, secrets...); err == nil {
			t.Errorf("%q verify it", secrets)
		}
		r.Body = httptest.NewRequest("POST", "/", strings.NewReader(body)).Body
	}
}
