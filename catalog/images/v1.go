package images

import (
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// entryV1 is an image as the API's first version has it.
type entryV1 struct {
	Digest     string            `json:"digest"`
	Tags       []string          `json:"tags"`
	Initrd     bool              `json:"initrd"`
	Size       int64             `json:"size_in_bytes"`
	Args       string            `json:"args,omitempty"`
	KernelArgs string            `json:"kernel_args,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

func renderV1(_ *call, e index.Entry) any {
	name := e.Name()
	tags := make([]string, len(e.Tags))
	for i, tag := range e.Tags {
		tags[i] = name + ":" + tag
	}
	return entryV1{
		Digest:     name + "@" + e.Digest.String(),
		Tags:       tags,
		Initrd:     e.Image.Initrd,
		Size:       e.Image.Size,
		Args:       image.QuoteArgs(e.Image.Args),
		KernelArgs: image.QuoteArgs(e.Image.KernelArgs),
		Labels:     e.Image.Labels,
	}
}
