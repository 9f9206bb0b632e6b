package bolt

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// referrer is what is looked at of every manifest that has a subject, whether
// the answer shows it or not. What may be large, the annotations, lies apart
// from it.
type referrer struct {
	mediaType    string
	size         int64 // in bytes
	artifactType string
}

func (f referrer) encode() []byte {
	e := newEncoder()
	e.string(f.mediaType)
	e.uint(uint64(max(f.size, 0)))
	e.string(f.artifactType)
	return e.b
}

func decodeReferrer(value []byte) (referrer, error) {
	d := newDecoder(value)
	f := referrer{mediaType: d.string(), size: d.size(), artifactType: d.string()}
	return f, d.err
}

// putReferrer notes that a manifest has a subject, deleteReferrer takes that
// away again; both do nothing if it has none.
func (r *repoTx) putReferrer(m *image.Description) error {
	if m.Subject == "" {
		return nil
	}
	err := r.data().Put(r.by(kindReferrer, m.Subject, m.Digest), referrer{m.MediaType, m.Size, m.ArtifactType}.encode())
	if err != nil || len(m.Annotations) == 0 {
		return err
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m.Annotations); err != nil {
		return err
	}
	return r.data().Put(r.by(kindAnnotations, m.Digest), bytes.TrimSpace(text.Bytes()))
}

func (r *repoTx) deleteReferrer(m *image.Description) error {
	if m.Subject == "" {
		return nil
	}
	if err := r.data().Delete(r.by(kindReferrer, m.Subject, m.Digest)); err != nil {
		return err
	}
	return r.data().Delete(r.by(kindAnnotations, m.Digest))
}

// Referrers implements index.Reader.
func (i *Index) Referrers(ctx context.Context, repository string, subject digest.Digest, artifactType string, after digest.Digest, n int) (referrers []image.Referrer, next digest.Digest, err error) {
	err = i.read(ctx, "referrers", repository, func(r *repoTx) error {
		m, err := r.referrersOf(subject, after)
		if err != nil {
			return err
		}
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
			if next, err = restDigest(s.k[s.strip:]); err != nil {
				return err
			}
			found, err := decodeReferrer(s.v)
			if err != nil {
				return err
			}
			s.advance()
			if artifactType != "" && artifactType != found.artifactType {
				continue
			}
			// What a bucket returns is gone with the transaction.
			annotations := bytes.Clone(r.data().Get(r.by(kindAnnotations, next)))
			size += len(annotations)
			referrers = append(referrers, image.Referrer{
				MediaType: found.mediaType, Digest: next, Size: found.size, ArtifactType: found.artifactType, Annotations: annotations,
			})
		}
	})
	return referrers, next, err
}

// referrersOf reads the manifests that have a subject, by any of its digests, in
// the order of their own that come after one.
func (r *repoTx) referrersOf(subject, after digest.Digest) (merge, error) {
	m := merge{}
	names, err := r.names(r.canonical(subject))
	for _, name := range names {
		p := r.by(kindReferrer, name)
		s := &span{cursor: r.data().Cursor(), prefix: p, strip: len(p)}
		from := bytes.Clone(p)
		if after != "" {
			from = appendDigest(from, after)
		}
		if s.seek(from); after != "" && bytes.Equal(s.k, from) {
			s.advance()
		}
		m = append(m, s)
	}
	return m, err
}
