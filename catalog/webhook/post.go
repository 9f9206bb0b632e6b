package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ContentType is that of what is sent: a CloudEvent in the structured mode of
// CloudEvents' binding to HTTP, in JSON.
const ContentType = "application/cloudevents+json"

// TypePrefix stands in front of the type of a change in a CloudEvent: what has the
// meaning is a name of its own (CloudEvents, "type").
const TypePrefix = "io.github.berth-oci."

// cloudEvent is an event in CloudEvents' JSON format, version 1.0.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        string          `json:"time"`
	ContentType string          `json:"datacontenttype"`
	Data        json.RawMessage `json:"data"`
}

// poster sends requests to one receiver.
type poster struct {
	hook    Hook
	source  string
	agent   string
	timeout time.Duration
	client  *http.Client
}

const (
	// mostHeader and mostAnswer are how many bytes are read of an answer.
	mostHeader = 16 << 10
	mostAnswer = 512
)

func newPoster(h Hook, o Options) *poster {
	dialer := &net.Dialer{Timeout: o.Timeout, Control: o.Policy.control}
	return &poster{hook: h, source: o.Source, agent: o.Agent, timeout: o.Timeout, client: &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext,
			// No proxy: it would connect to what the policy does not allow.
			Proxy:                  nil,
			TLSHandshakeTimeout:    o.Timeout,
			MaxIdleConns:           1,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: mostHeader,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (p *poster) close() { p.client.CloseIdleConnections() }

// refusal is an answer that is no success.
type refusal struct {
	status int
	text   string
	// after is when the receiver wants to be asked again; 0 if it does not say.
	after time.Duration
}

// Error says what was answered.
func (r *refusal) Error() string {
	switch {
	case r.status >= 300 && r.status < 400:
		return fmt.Sprintf("answers %d: redirects are not followed", r.status)
	case r.text != "":
		return fmt.Sprintf("answers %d: %q", r.status, r.text)
	}
	return fmt.Sprintf("answers %d", r.status)
}

// post sends an event once. An error means that it may not have been taken.
func (p *poster) post(ctx context.Context, e Event) error {
	body, err := json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: e.Revision, Source: p.source, Type: TypePrefix + e.Type, Subject: e.Subject,
		Time: e.Time.UTC().Format(time.RFC3339Nano), ContentType: "application/json", Data: e.Data,
	})
	if err != nil {
		return fmt.Errorf("the event %s: %w", e.Revision, err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.hook.URL.String(), bytes.NewReader(body))
	if err != nil {
		return hideURL(err)
	}
	now := time.Now().Unix()
	r.Header.Set("Content-Type", ContentType)
	r.Header.Set("User-Agent", p.agent)
	// As the libraries of Standard Webhooks look for them; HTTP's names have no case.
	r.Header.Set("Webhook-Id", e.Revision)
	r.Header.Set("Webhook-Timestamp", strconv.FormatInt(now, 10))
	r.Header.Set("Webhook-Signature", Sign(p.hook.Secrets, e.Revision, now, body))
	answer, err := p.client.Do(r)
	if err != nil {
		return hideURL(err)
	}
	// What is not read is not waited for: the connection ends with it.
	defer answer.Body.Close()
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		_, _ = io.CopyN(io.Discard, answer.Body, mostAnswer)
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	return &refusal{answer.StatusCode, strings.TrimSpace(string(text)), retryAfter(answer.Header)}
}

// retryAfter reads Retry-After in either form (RFC 9110, section 10.2.3).
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
