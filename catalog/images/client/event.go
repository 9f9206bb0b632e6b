package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// TypeResync is the type of an event that a webhook's receiver gets first of all, and
// whenever changes may be missing: it lists again, and is told all that comes after
// the event's revision.
const TypeResync ChangeType = "resync"

// Event is what a webhook's receiver is sent.
type Event struct {
	// ID is the same whenever the event is sent again.
	ID string
	// Source is the berth that sends it.
	Source string
	// Change is what it tells. One of [TypeResync] has a type and a revision alone.
	Change Change
}

var (
	// ErrSignature is returned for a request that none of the secrets has signed, or
	// that was signed long ago, or is to be.
	ErrSignature = errors.New("the request is not signed as berth signs it, with this secret and at this time")
	// ErrEvent is returned for a request that is signed and holds no event.
	ErrEvent = errors.New("the request holds no event of berth's")
)

const (
	// mostEvent bounds the body of a request, in bytes.
	mostEvent = 16 << 20
	// tolerance is by how much clocks may differ, and how long a request may take.
	tolerance = 5 * time.Minute
	// eventPrefix stands in front of the type in a CloudEvent.
	eventPrefix = "io.github.berth-oci."
)

// ReadEvent reads a request of a webhook, and checks that who has one of the secrets
// has signed it within five minutes. Answer with a status from 200 to 299 once the
// event is handled: until then it is sent again, and none that came later. Since it may
// come twice, an event whose ID was handled before is to be answered so too. The errors
// are ErrSignature, ErrEvent, and that of reading.
func ReadEvent(r *http.Request, secrets ...string) (Event, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, mostEvent+1))
	if err != nil {
		return Event{}, err
	}
	if len(body) > mostEvent {
		return Event{}, fmt.Errorf("%w: it is larger than %d bytes", ErrEvent, mostEvent)
	}
	if err := verify(r.Header, body, secrets, time.Now()); err != nil {
		return Event{}, err
	}
	var sent struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		Data        Change `json:"data"`
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	if sent.SpecVersion != "1.0" || sent.Type != eventPrefix+string(sent.Data.Type) || sent.Data.Revision == "" || sent.ID != r.Header.Get("Webhook-Id") {
		return Event{}, ErrEvent
	}
	return Event{sent.ID, sent.Source, sent.Data}, nil
}

// verify checks a signature as Standard Webhooks have it.
func verify(h http.Header, body []byte, secrets []string, now time.Time) error {
	id, stamp := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(at, 0)).Abs() > tolerance {
		return ErrSignature
	}
	for _, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(secret), "whsec_"))
		if err != nil || len(key) == 0 {
			return errors.New("a secret is not base64")
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		want := mac.Sum(nil)
		for one := range strings.FieldsSeq(h.Get("Webhook-Signature")) {
			text, ok := strings.CutPrefix(one, "v1,")
			got, err := base64.StdEncoding.DecodeString(text)
			if ok && err == nil && hmac.Equal(got, want) {
				return nil
			}
		}
	}
	return ErrSignature
}
