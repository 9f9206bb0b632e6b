// Package client asks a berth which unikernel images it holds.
//
//	c, err := client.New("https://registry.example.com", client.WithToken(client.EnvironmentToken))
//	for image, err := range c.List(ctx, client.ListOptions{Namespaces: []string{"alice"}}) {
//		…
//	}
//	image, err := c.Get(ctx, "alice/app:v1")
//
// [Client.List] and [Client.Pages] go through all images, however many, a page at
// a time: each that exists all the while comes exactly once. [Client.Get] looks one
// up by its tag, digest or UUID, and shows a push as soon as that was answered.
// [Client.Quotas] tells what the account stores, and may.
//
// [Client.Changes] follows what is pushed, tagged and deleted, and [Client.Watch]
// keeps a copy of the list with it, which is asked without asking berth. Both go on
// by themselves when the connection is lost. [ReadEvent] is for who is sent changes.
//
// What berth refuses is an [*Error] with the status of the answer; [IsNotFound]
// tells the most common one apart. Every method ends with its context. A Client is
// safe for concurrent use, retries nothing but streams, and needs nothing but the
// standard library.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client asks one berth.
type Client struct {
	base  *url.URL
	http  *http.Client
	token TokenSource
	agent string
	// idle is how long a stream may be silent, shortest and longest the pauses before
	// it is asked for again.
	idle, shortest, longest time.Duration
}

// Option changes how a client asks.
type Option func(*Client)

// WithToken sends what the source returns with each request.
func WithToken(source TokenSource) Option { return func(c *Client) { c.token = source } }

// WithHTTPClient sends requests with h: its transport, timeout and redirects.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithUserAgent names the program that asks.
func WithUserAgent(agent string) Option { return func(c *Client) { c.agent = agent } }

// New returns a client of the berth at a URL, such as https://registry.example.com;
// a path in it stands in front of every route. Nothing is asked yet.
func New(base string, options ...Option) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("the URL of a berth is scheme and host, like https://registry.example.com")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	c := &Client{base: u, http: http.DefaultClient, agent: "berth-client", idle: silence, shortest: shortestPause, longest: longestPause}
	for _, o := range options {
		o(c)
	}
	return c, nil
}

// Error is an answer other than success.
type Error struct {
	// Status is that of the HTTP answer.
	Status int
	// Message says what was wrong, and what would be right.
	Message string
	// RetryAfter is how long berth asks to be left alone, 0 if it does not.
	RetryAfter time.Duration
}

// Error is status and message.
func (e *Error) Error() string {
	return fmt.Sprintf("berth answers %d: %s", e.Status, e.Message)
}

// IsNotFound reports whether an error means that what was asked for does not exist,
// or not for the account that asks.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// IsGone reports whether an error means that berth cannot tell all that came after a
// revision: it is too old, or the index was built anew, or the rights of the account
// have changed. Who followed lists again.
func IsGone(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusGone
}

// mostBytes bounds an answer: a page has about 4 MiB at most, with one image more.
const mostBytes = 64 << 20

// errToken is that of a token source.
var errToken = errors.New("token")

// send asks a route for an answer of a media type.
func (c *Client) send(ctx context.Context, by *http.Client, target *url.URL, accept string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("User-Agent", c.agent)
	if c.token != nil {
		token, err := c.token(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errToken, err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
	return by.Do(r)
}

// get asks a route, or an address that an answer linked to, and decodes what is
// under key of the answer's data.
func (c *Client) get(ctx context.Context, target *url.URL, key string, into any) (next *url.URL, err error) {
	answer, err := c.send(ctx, c.http, target, "application/json")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostBytes+1))
	if err != nil {
		return nil, fmt.Errorf("the answer was cut off: %w", err)
	}
	if len(body) > mostBytes {
		return nil, fmt.Errorf("the answer is larger than %d bytes", mostBytes)
	}
	var envelope struct {
		Status  string                     `json:"status"`
		Message string                     `json:"message"`
		Data    map[string]json.RawMessage `json:"data"`
	}
	err = json.Unmarshal(body, &envelope)
	if answer.StatusCode != http.StatusOK {
		return nil, refused(answer, envelope.Message)
	}
	if err == nil && envelope.Status != "success" {
		return nil, refused(answer, envelope.Message)
	}
	if err == nil {
		err = json.Unmarshal(envelope.Data[key], into)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not answered as a berth does: %w", target.Path, err)
	}
	return c.linked(answer)
}

func refused(answer *http.Response, message string) error {
	e := &Error{Status: answer.StatusCode, Message: message}
	if e.Message == "" {
		e.Message = http.StatusText(answer.StatusCode)
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// linked is the next page of an answer, nil for none. It must be the same berth's:
// the token goes there too.
func (c *Client) linked(answer *http.Response) (*url.URL, error) {
	for _, link := range answer.Header.Values("Link") {
		address, parameters, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if !ok || strings.TrimSpace(strings.TrimPrefix(parameters, ";")) != `rel="next"` {
			continue
		}
		next, err := c.base.Parse(address)
		if err != nil || next.Scheme != c.base.Scheme || next.Host != c.base.Host {
			return nil, errors.New("the link to the next page leads somewhere else")
		}
		return next, nil
	}
	return nil, nil
}

func (c *Client) route(path string, query url.Values) *url.URL {
	u := *c.base
	u.Path += path
	u.RawQuery = query.Encode()
	return &u
}
