package images

import (
	"strconv"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// renderV1 appends an image as the API's first version has it.
func renderV1(_ *call, b []byte, e *index.Entry) []byte {
	name := e.Name()
	b = appendReference(append(b, `{"digest":"`...), name, '@', string(e.Digest))
	b = append(b, `","tags":[`...)
	for i, tag := range e.Tags {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendReference(append(b, '"'), name, ':', tag), '"')
	}
	b = strconv.AppendBool(append(b, `],"initrd":`...), e.Image.Initrd)
	b = strconv.AppendInt(append(b, `,"size_in_bytes":`...), e.Image.Size, 10)
	if args := image.QuoteArgs(e.Image.Args); args != "" {
		b = appendString(append(b, `,"args":`...), args)
	}
	if args := image.QuoteArgs(e.Image.KernelArgs); args != "" {
		b = appendString(append(b, `,"kernel_args":`...), args)
	}
	if len(e.Image.Labels) > 0 {
		b = appendMap(append(b, `,"labels":`...), e.Image.Labels)
	}
	return append(b, '}')
}

// appendReference appends a name with a tag or a digest.
func appendReference(b []byte, name string, separator byte, rest string) []byte {
	return appendText(append(appendText(b, name), separator), rest)
}
