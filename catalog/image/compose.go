package image

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Bounds of the image of an index, all above what a real one needs.
const (
	// maxMembers is how many manifests below an index are looked at.
	maxMembers = 512
	// maxDepth is how many indexes may stand inside each other, the first
	// one included.
	maxDepth = 4
	// maxArgs is how many bytes the arguments of all platforms have together:
	// many large configs cost little to push.
	maxArgs = 1 << 20
	// argOverhead is what an argument costs beside its bytes.
	argOverhead = 3
)

// Find returns the description of a stored manifest, by any of its digests; nil
// if there is none.
type Find func(digest.Digest) (*Description, error)

// Compose makes the image of an index from what is known of its manifests now.
// It is nil if none of them is a unikernel, and fails only where find does. A
// manifest that is not there is a platform of which nothing is known but what
// the index says.
func Compose(index *Description, find Find) (*Image, error) {
	image := &Image{}
	found, err := (&Composer{Find: find}).Compose(index, image)
	if !found || err != nil {
		return nil, err
	}
	return image, nil
}

// Composer makes the images of many indexes, as [Compose] does, one after the
// other.
type Composer struct {
	Find Find
	// Brief leaves the platforms out.
	Brief bool

	run composer
}

// Compose makes an image, and reports whether there is one.
func (c *Composer) Compose(index *Description, image *Image) (found bool, err error) {
	var reused []Platform
	if c.Brief {
		reused = c.run.platforms[:0]
	}
	c.run = newComposer(c.Find)
	if c.run.platforms = reused; reused == nil {
		c.run.platforms = make([]Platform, 0, min(len(index.Members), maxMembers))
	}
	if err := c.run.walk(index, 1); err != nil || c.run.chosen == nil {
		return false, err
	}
	*image = imageOf(&c.run.platforms[c.run.place])
	from := c.run.chosen.Image
	image.Kernel, image.Initrd, image.ROM = from.Kernel, from.Initrd, from.ROM
	image.Env, image.Labels = from.Env, from.Labels
	if !c.Brief {
		image.Platforms = c.run.platforms
	}
	image.Created = index.createdWith(c.run.chosen)
	return true, nil
}

// Standing is what lists need to know of the image of an index: whether there is
// one, and what follows from the manifest that stands for it. It takes no
// reading of all the manifests to keep it up to date, see [Standing.With].
type Standing struct {
	// Found reports whether a manifest of the index is a unikernel.
	Found bool
	// Created, Kernel, Initrd and ROM are those of the image.
	Created             time.Time
	Kernel, Initrd, ROM bool
	// Rank and Ordinal say which manifest stands for the image: that with the
	// lowest rank, of equal ranks the first.
	Rank, Ordinal int
	// Flat reports whether no member of the index is an index.
	Flat bool
}

// Stand says what lists need to know of [Compose]'s image.
func Stand(index *Description, find Find) (Standing, error) {
	c := newComposer(find)
	err := c.walk(index, 1)
	if c.chosen == nil {
		return Standing{Flat: c.best.Flat}, err
	}
	c.best.take(index, c.chosen)
	return c.best, err
}

// With is the standing after a manifest came, or was described again, which is
// the only one of the index with its digest. ok reports whether that could be
// said; if not, [Stand] says it.
func (s Standing) With(index *Description, ordinal int, m Member, d *Description) (now Standing, ok bool) {
	if !s.Flat || kindOf(d) == kindIndex || s.Found && s.Ordinal == ordinal {
		return s, false
	}
	if d.Image == nil || ordinal >= maxMembers {
		return s, true
	}
	p := platformOf(m, d)
	if r := rank(p.OS, p.Architecture); !s.Found || r < s.Rank || r == s.Rank && ordinal < s.Ordinal {
		s.Rank, s.Ordinal = r, ordinal
		s.take(index, d)
	}
	return s, true
}

// take takes over what follows from the manifest that stands for an image.
func (s *Standing) take(index, chosen *Description) {
	s.Found, s.Created = true, index.createdWith(chosen)
	s.Kernel, s.Initrd, s.ROM = chosen.Image.Kernel, chosen.Image.Initrd, chosen.Image.ROM
}

// createdWith is the creation time of the image of an index: what the chosen
// manifest or its config says, else the index, else the time at which storage
// got the index.
func (d *Description) createdWith(chosen *Description) time.Time {
	for _, t := range []time.Time{chosen.Created, d.Created} {
		if !t.IsZero() {
			return t
		}
	}
	return d.Modified.UTC()
}

// kindOf is what a described manifest is, by the media type under which it is
// served.
func kindOf(d *Description) kind {
	if d.MediaType == "" {
		return kindOther
	}
	return Document{Stated: d.MediaType}.kind()
}

// platformOf is what is known of a member of an index. What the index says of it
// goes first.
func platformOf(m Member, d *Description) Platform {
	p := Platform{}
	switch {
	case d == nil:
	case d.Image == nil:
		p.Size = d.LayerBytes
	case len(d.Image.Platforms) > 0:
		p = d.Image.Platforms[0]
	}
	p.Digest = m.Digest
	if m.OS != "" {
		p.OS = m.OS
	}
	if m.Architecture != "" {
		p.Architecture = m.Architecture
	}
	if p.ROMs == nil {
		p.ROMs = []Part{}
	}
	return p
}

// composer walks over the manifests below an index.
type composer struct {
	find    Find
	members int // how many may still be looked at
	args    int // bytes that may still be shown
	roms    int

	platforms []Platform
	best      Standing
	chosen    *Description // the manifest that stands for the image
	place     int          // of its platform
}

func newComposer(find Find) composer {
	return composer{
		find: find, members: maxMembers, args: maxArgs, roms: maxROMs,
		best: Standing{Rank: unranked, Flat: true},
	}
}

func (c *composer) walk(index *Description, depth int) error {
	for _, m := range index.Members {
		if c.members == 0 {
			return nil
		}
		c.members--
		d, err := c.find(m.Digest)
		if err != nil {
			return err
		}
		switch {
		case d != nil && kindOf(d) == kindIndex:
			c.best.Flat = false
			if depth < maxDepth {
				if err := c.walk(d, depth+1); err != nil {
					return err
				}
			}
		case (d == nil || d.MediaType == "") && m.Index:
			c.best.Flat = false // it may come
		default:
			c.add(m, d)
		}
	}
	return nil
}

// add takes up a manifest, whether or not it is there.
func (c *composer) add(m Member, d *Description) {
	p := platformOf(m, d)
	if d != nil && d.Image != nil {
		if r := rank(p.OS, p.Architecture); r < c.best.Rank {
			c.best.Rank, c.best.Ordinal = r, maxMembers-c.members-1
			c.chosen, c.place = d, len(c.platforms)
		}
	}
	p.ROMs = p.ROMs[:min(len(p.ROMs), c.roms)]
	c.roms -= len(p.ROMs)
	for _, arg := range p.Args {
		c.args -= len(arg) + argOverhead
	}
	for _, arg := range p.KernelArgs {
		c.args -= len(arg) + argOverhead
	}
	if c.args < 0 {
		p.Args, p.KernelArgs = nil, nil
	}
	c.platforms = append(c.platforms, p)
}
