package image

import (
	"context"
)

// maxName bounds the names of operating systems and architectures, which come
// from hundreds of configs and are stored with the image. A longer one is no
// name.
const maxName = 128

func (p Platform) bootable() bool { return p.Kernel != nil || p.Initrd != nil || len(p.ROMs) > 0 }

// image reads the unikernel image that a manifest is, if it is one. The config
// comes last, so that it is not read for ordinary container images.
func (d *describer) image(ctx context.Context, doc Document, desc *Description) error {
	p, err := d.platform(ctx, doc)
	if err != nil {
		return err
	}
	desc.LayerBytes = p.Size
	if !p.bootable() {
		return nil
	}
	conf, err := d.config(ctx, doc.Config.Digest)
	if err != nil {
		return err
	}
	p.Digest, p.OS, p.Architecture = desc.Digest, name(conf.OS), name(conf.Architecture)
	p.Args, p.KernelArgs = splitArgs(conf.args())
	desc.Created = created(conf.Created, doc.created)
	image := imageOf(&p)
	desc.Image = &image
	desc.Image.Env, desc.Image.Labels = environment(conf.Config.Env), labels(conf.Config.Labels)
	desc.Image.Platforms = []Platform{p}
	desc.Image.Created = desc.Created
	if desc.Created.IsZero() {
		desc.Image.Created = desc.Modified.UTC()
	}
	return nil
}

// imageOf is an image for which a manifest stands, as far as its platform says.
func imageOf(p *Platform) Image {
	return Image{
		Size: p.Size, Kernel: p.Kernel != nil, Initrd: p.Initrd != nil, ROM: len(p.ROMs) > 0,
		Args: p.Args, KernelArgs: p.KernelArgs,
	}
}

// platform reads what a manifest boots from.
func (d *describer) platform(ctx context.Context, doc Document) (Platform, error) {
	p := Platform{ROMs: []Part{}}
	layers := valid(doc.Layers)
	parts, err := d.parts(ctx, layers)
	if err != nil {
		return p, err
	}
	for i, layer := range layers {
		size, err := d.size(ctx, layer.Digest)
		if err != nil {
			return p, err
		}
		p.Size += size.bytes
		if parts[i]&PartROM != 0 && d.roms == 0 {
			parts[i] &^= PartROM
		} else if parts[i]&PartROM != 0 {
			d.roms--
		}
		p.boot(Part{Digest: layer.Digest, Size: size.bytes, MediaType: layer.MediaType}, parts[i])
	}
	return p, nil
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

// membersOf are what an index says of its manifests, as far as they are looked at.
func membersOf(index Document) []Member {
	listed := valid(index.Manifests)
	listed = listed[:min(len(listed), maxMembers)]
	if len(listed) == 0 {
		return nil
	}
	members := make([]Member, len(listed))
	for i, desc := range listed {
		members[i] = Member{
			Digest: desc.Digest, OS: name(desc.Machine.OS), Architecture: name(desc.Machine.Architecture),
			Index: Document{Stated: desc.MediaType}.kind() == kindIndex,
		}
	}
	return members
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
func rank(os, architecture string) int {
	switch os {
	case "kraftcloud":
		if architecture == "x86_64" {
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
