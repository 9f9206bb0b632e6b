package bolt

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// encodeImage writes the image of one manifest. Its parts are nearly always
// layers, with the size that they have there.
func (m *record) encodeImage(e *encoder) {
	i := m.Image
	e.uint(uint64(max(i.Size, 0)))
	e.strings(i.Args)
	e.strings(i.KernelArgs)
	e.dictionary(i.Env)
	e.dictionary(i.Labels)
	e.uint(uint64(len(i.Platforms)))
	for _, p := range i.Platforms {
		if p.Digest == m.Digest {
			e.uint(1)
		} else {
			e.uint(0)
			e.digest(p.Digest)
		}
		e.string(p.OS)
		e.string(p.Architecture)
		e.uint(uint64(max(p.Size, 0)))
		m.encodePart(e, p.Kernel)
		m.encodePart(e, p.Initrd)
		e.uint(uint64(len(p.ROMs)))
		for _, rom := range p.ROMs {
			m.encodePart(e, &rom)
		}
		same := slices.Equal(p.Args, i.Args) && slices.Equal(p.KernelArgs, i.KernelArgs)
		if same {
			e.uint(1)
			continue
		}
		e.uint(0)
		e.strings(p.Args)
		e.strings(p.KernelArgs)
	}
}

// How a part names its layer; from partBlob on, by the place among the blobs.
const (
	partNone uint64 = iota
	partInline
	partBlob
)

func (m *record) encodePart(e *encoder, p *image.Part) {
	if p == nil {
		e.uint(partNone)
		return
	}
	if m.places == nil {
		m.places = make(map[digest.Digest]int, len(m.Blobs))
		for i, blob := range m.Blobs {
			m.places[blob.Digest] = i
		}
	}
	if i, ok := m.places[p.Digest]; ok && m.Blobs[i].Size == p.Size {
		e.uint(partBlob + uint64(i)) //nolint:gosec // not negative
		e.string(p.MediaType)
		return
	}
	e.uint(partInline)
	e.digest(p.Digest)
	e.uint(uint64(max(p.Size, 0)))
	e.string(p.MediaType)
}

// decodePart reads a part into p, and reports whether there is one.
func (m *record) decodePart(d *decoder, p *image.Part) bool {
	switch at := d.uint(); {
	case at == partNone:
		return false
	case at == partInline:
		p.Digest, p.Size = d.digest(), d.size()
	default:
		p.Digest, p.Size = m.blob(d, at-partBlob)
	}
	p.MediaType = d.string()
	return true
}

func (m *record) decodeImage(d *decoder) {
	i := &m.image
	i.Created, i.Size = m.standing.Created, d.size()
	i.Kernel, i.Initrd, i.ROM = m.standing.Kernel, m.standing.Initrd, m.standing.ROM
	i.Args, i.KernelArgs = d.strings(), d.strings()
	if d.brief {
		d.skipDictionary()
	} else {
		i.Env = d.dictionary()
	}
	i.Labels = d.dictionary()
	const least = 7
	if n := d.count(least); d.brief {
		m.platforms = sized(m.platforms, n)
		i.Platforms = m.platforms
	} else {
		i.Platforms = d.in.takePlatforms(n)
	}
	for n := range i.Platforms {
		m.decodePlatform(d, &i.Platforms[n])
		if p := &i.Platforms[n]; d.uint() == 0 {
			p.Args, p.KernelArgs = d.strings(), d.strings()
		} else {
			p.Args, p.KernelArgs = i.Args, i.KernelArgs
		}
	}
}

func (m *record) decodePlatform(d *decoder, p *image.Platform) {
	if p.Digest = m.Digest; d.uint() == 0 {
		if raw := d.raw(); raw != nil && !d.brief {
			p.Digest = d.in.digest(raw)
		}
	}
	p.OS, p.Architecture, p.Size = d.string(), d.string(), d.size()
	if d.brief {
		m.skipParts(d)
		return
	}
	parts := d.in.takeParts(2)
	for n, at := range []**image.Part{&p.Kernel, &p.Initrd} {
		if m.decodePart(d, &parts[n]) {
			*at = &parts[n]
		}
	}
	p.ROMs = d.in.takeParts(d.count(2))
	for n := range p.ROMs {
		m.decodePart(d, &p.ROMs[n])
	}
}

// skipParts passes over the parts of a platform.
func (m *record) skipParts(d *decoder) {
	skip := func() {
		switch at := d.uint(); {
		case at == partNone:
			return
		case at == partInline:
			d.raw()
			d.size()
		}
		d.skipString()
	}
	skip()
	skip()
	for range d.count(2) {
		skip()
	}
}
