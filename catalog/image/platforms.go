package image

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// maxName bounds the names of operating systems and architectures, which come
// from hundreds of configs and are stored with the image. A longer one is no
// name.
const maxName = 128

// candidate is a manifest of an image, and what is needed of it should it be
// the chosen one.
type candidate struct {
	platform Platform
	config   digest.Digest
	created  string
}

func (c candidate) bootable() bool {
	return c.platform.Kernel != nil || c.platform.Initrd != nil || len(c.platform.ROMs) > 0
}

// image reads the unikernel image that doc is; nil if it is none.
func (d *describer) image(ctx context.Context, m Manifest, doc Document, kind kind) (*Image, error) {
	var err error
	switch kind {
	case kindManifest:
		err = d.add(ctx, doc, Platform{Digest: m.Digest})
	case kindIndex:
		err = d.walk(ctx, doc, 1)
	case kindOther:
	}
	if err != nil || !d.bootable() {
		return nil, err
	}
	return d.assemble(ctx, m, doc)
}

func (d *describer) bootable() bool {
	for _, c := range d.found {
		if c.bootable() {
			return true
		}
	}
	return false
}

// walk finds the manifests of an index, and those of the indexes inside it.
func (d *describer) walk(ctx context.Context, index Document, depth int) error {
	for _, child := range valid(index.Manifests) {
		if d.children == 0 {
			return nil
		}
		d.children--
		doc, ok, err := d.manifest(ctx, child.Digest)
		if err != nil {
			return err
		}
		if err := d.child(ctx, child, doc, ok, depth); err != nil {
			return err
		}
	}
	return nil
}

// child adds what an index refers to, whether or not it could be read. An
// index is followed and is no platform by itself.
func (d *describer) child(ctx context.Context, desc Descriptor, doc Document, read bool, depth int) error {
	if !read {
		doc = Document{Stated: desc.MediaType}
	}
	p := Platform{
		Digest:       desc.Digest,
		OS:           name(desc.Machine.OS),
		Architecture: name(desc.Machine.Architecture),
	}
	switch doc.kind() {
	case kindManifest:
		return d.add(ctx, doc, p)
	case kindIndex:
		if depth < maxDepth {
			return d.walk(ctx, doc, depth+1)
		}
	case kindOther:
		return d.add(ctx, Document{}, p)
	}
	return nil
}

// add appends a manifest to those found.
func (d *describer) add(ctx context.Context, doc Document, p Platform) error {
	layers := valid(doc.Layers)
	parts, err := d.parts(ctx, layers)
	if err != nil {
		return err
	}
	p.ROMs = []Part{}
	for i, layer := range layers {
		size, err := d.size(ctx, layer.Digest)
		if err != nil {
			return err
		}
		p.Size += size.bytes
		if parts[i]&PartROM != 0 && d.roms == 0 {
			parts[i] &^= PartROM
		} else if parts[i]&PartROM != 0 {
			d.roms--
		}
		p.boot(Part{Digest: layer.Digest, Size: size.bytes, MediaType: layer.MediaType}, parts[i])
	}
	d.found = append(d.found, candidate{platform: p, config: doc.Config.Digest, created: doc.created})
	return nil
}

// boot takes up a layer that holds parts.
func (p *Platform) boot(layer Part, parts Parts) {
	if parts&PartKernel != 0 && p.Kernel == nil {
		p.Kernel = &layer
	}
	if parts&PartInitrd != 0 && p.Initrd == nil {
		p.Initrd = &layer
	}
	if parts&PartROM != 0 {
		p.ROMs = append(p.ROMs, layer)
	}
}

// assemble reads the configs of all manifests found and makes an image of
// them. It comes last, so that nothing is read for ordinary container images.
func (d *describer) assemble(ctx context.Context, m Manifest, doc Document) (*Image, error) {
	image := &Image{Platforms: make([]Platform, len(d.found))}
	var chosen candidate
	var config imageConfig
	best := unranked
	for i, c := range d.found {
		conf, err := d.config(ctx, c.config)
		if err != nil {
			return nil, err
		}
		d.complete(&c.platform, conf)
		image.Platforms[i] = c.platform
		if r := rank(c.platform); c.bootable() && r < best {
			best, chosen, config = r, c, conf
		}
	}
	p := chosen.platform
	image.Size = p.Size
	image.Kernel, image.Initrd, image.ROM = p.Kernel != nil, p.Initrd != nil, len(p.ROMs) > 0
	image.Args, image.KernelArgs = p.Args, p.KernelArgs
	image.Env = environment(config.Config.Env)
	image.Labels = labels(config.Config.Labels)
	image.Created = created(m.Modified, config.Created, chosen.created, doc.created)
	return image, nil
}

// complete fills a platform from its config. What the index says of it goes
// first.
func (d *describer) complete(p *Platform, conf imageConfig) {
	if p.OS == "" {
		p.OS = name(conf.OS)
	}
	if p.Architecture == "" {
		p.Architecture = name(conf.Architecture)
	}
	d.args -= int64(len(conf.Config.Entrypoint) + len(conf.Config.Cmd))
	if d.args >= 0 {
		p.Args, p.KernelArgs = splitArgs(conf.args())
	}
}

func name(s string) string {
	if len(s) > maxName {
		return ""
	}
	return s
}

// unranked is beyond every rank.
const unranked = 6

// rank orders the manifests of an image: the one with the lowest rank stands
// for it, of equal ranks the first.
func rank(p Platform) int {
	switch p.OS {
	case "kraftcloud":
		if p.Architecture == "x86_64" {
			return 0
		}
		return 1
	case "fc":
		return 2
	case "qemu":
		return 3
	case "xen":
		return 4
	}
	return 5
}
