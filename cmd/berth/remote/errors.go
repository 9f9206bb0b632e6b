package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// What can be wrong, for who must tell these apart. Every other error is none of
// them.
var (
	// ErrUsage is what was asked wrongly: nothing was done.
	ErrUsage = errors.New("wrong usage")
	// ErrNotFound is what is not there, or not for who asks.
	ErrNotFound = errors.New("not found")
	// ErrDenied is what credentials are missing for, or do not allow.
	ErrDenied = errors.New("not allowed")
	// ErrUnavailable is a registry that does not answer, or cannot do it now.
	ErrUnavailable = errors.New("not available")
	// ErrContent is content that is not what its digest says.
	ErrContent = errors.New("the content is not what its digest says")
)

// kinded is an error of one of these kinds, in its own words.
type kinded struct {
	error
	kind error
}

// Unwrap returns the cause and the kind.
func (k kinded) Unwrap() []error { return []error{k.error, k.kind} }

// Of says of which kind an error of a status is, nil for none.
func Of(status int) error {
	switch {
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusTooManyRequests, status >= 500:
		return ErrUnavailable
	}
	return nil
}

// explained gives an error its kind, and words for who has to do something about
// it, about what was asked for.
func explained(err error, what string) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	for _, kind := range []error{ErrUsage, ErrNotFound, ErrDenied, ErrUnavailable, ErrContent} {
		if errors.Is(err, kind) {
			return err
		}
	}
	var answer *errcode.ErrorResponse
	var network net.Error
	var address *url.Error
	switch {
	case errors.As(err, &answer) && answer.StatusCode != http.StatusNotFound:
		return kinded{fmt.Errorf("%s: %w", what, answered(answer)), Of(answer.StatusCode)}
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData), errors.Is(err, content.ErrInvalidDescriptorSize),
		strings.Contains(err.Error(), "mismatch Content-Length"), strings.Contains(err.Error(), "mismatch digest"):
		return kinded{fmt.Errorf("%s: %w: %w", what, ErrContent, err), ErrContent}
	case answer != nil, errors.Is(err, errdef.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return kinded{fmt.Errorf("%s is not there, or not for you", what), ErrNotFound}
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return kinded{fmt.Errorf("%s: the registry wants a login%s", what, howToLogIn), ErrDenied}
	case errors.As(err, &address), errors.As(err, &network):
		return kinded{fmt.Errorf("%s: %w", what, err), ErrUnavailable}
	}
	return fmt.Errorf("%s: %w", what, err)
}

const howToLogIn = "; log in with docker login, or give a token: --token-file, BERTH_TOKEN"

// answered is what a registry says, without the address that was asked.
func answered(answer *errcode.ErrorResponse) error {
	said := http.StatusText(answer.StatusCode)
	if len(answer.Errors) > 0 {
		said = answer.Errors.Error()
	}
	if answer.StatusCode == http.StatusUnauthorized {
		said += howToLogIn
	}
	return fmt.Errorf("the registry answered %d: %s", answer.StatusCode, said)
}
