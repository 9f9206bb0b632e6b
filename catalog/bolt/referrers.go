package bolt

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// referrer is what is looked at of every manifest that has a subject, whether
// the answer shows it or not. What may be large, the annotations, lies apart
// from it.
type referrer struct {
	MediaType    string `json:"media_type,omitempty"`
	Size         int64  `json:"size"` // in bytes
	ArtifactType string `json:"artifact_type,omitempty"`
}

// putReferrer notes that a manifest has a subject, deleteReferrer takes that
// away again; both do nothing if it has none.
func (r *repoTx) putReferrer(m image.Description) error {
	if m.Subject == "" {
		return nil
	}
	err := put(r.tx.Bucket(bucketReferrers), r.key(m.Subject.String(), m.Digest.String()), referrer{m.MediaType, m.Size, m.ArtifactType})
	if err != nil || len(m.Annotations) == 0 {
		return err
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m.Annotations); err != nil {
		return err
	}
	return r.tx.Bucket(bucketAnnotations).Put(r.key(m.Digest.String()), bytes.TrimSpace(text.Bytes()))
}

func (r *repoTx) deleteReferrer(m image.Description) error {
	if m.Subject == "" {
		return nil
	}
	if err := r.tx.Bucket(bucketReferrers).Delete(r.key(m.Subject.String(), m.Digest.String())); err != nil {
		return err
	}
	return r.tx.Bucket(bucketAnnotations).Delete(r.key(m.Digest.String()))
}

// Referrers implements index.Reader.
func (i *Index) Referrers(ctx context.Context, repository string, subject digest.Digest, artifactType string, after digest.Digest, n int) (referrers []image.Referrer, next digest.Digest, err error) {
	err = i.view(ctx, "referrers", func(tx *bbolt.Tx) error {
		t := repoTx{tx: tx, repository: repository}
		m := t.referrersOf(subject, after)
		size := 0
		for scanned := 0; ; scanned++ {
			s := m.least()
			if s == nil {
				next = ""
				return nil
			}
			if len(referrers) >= n || size >= index.BatchBytes || scanned == maxScanned {
				return nil
			}
			next = digest.Digest(s.k[s.strip:])
			var found referrer
			if err := json.Unmarshal(s.v, &found); err != nil {
				return err
			}
			s.advance()
			if artifactType != "" && artifactType != found.ArtifactType {
				continue
			}
			// What a bucket returns is gone with the transaction.
			annotations := bytes.Clone(tx.Bucket(bucketAnnotations).Get(t.key(next.String())))
			size += len(annotations)
			referrers = append(referrers, image.Referrer{
				MediaType: found.MediaType, Digest: next, Size: found.Size, ArtifactType: found.ArtifactType, Annotations: annotations,
			})
		}
	})
	return referrers, next, err
}

// referrersOf reads the manifests that have a subject, by any of its digests, in
// the order of their own that come after one.
func (r *repoTx) referrersOf(subject, after digest.Digest) merge {
	m := merge{}
	for _, name := range r.names(r.canonical(subject)) {
		p := prefix(r.repository, name.String())
		s := &span{cursor: r.tx.Bucket(bucketReferrers).Cursor(), prefix: p, strip: len(p), place: bytes.Clone}
		if s.seek(append(bytes.Clone(p), after...)); after != "" && s.k != nil && string(s.k[len(p):]) == string(after) {
			s.advance()
		}
		m = append(m, s)
	}
	return m
}
