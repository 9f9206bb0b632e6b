package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/cmd/berth/remote"
	"github.com/berth-oci/berth/config/size"
)

func (i *imageCommands) newShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show IMAGE",
		Short: "Show what an image is, what it boots with, and what clients stumble over",
		Long: `Show what an image is and what it boots with, as berth reads it; it need not be in
a berth. Hints say what some clients cannot do with it.`,
		Example: `  berth images show alice/app:v1
  berth images show registry.example.com/alice/app@sha256:… --output json`,
		Args: exactly(1, "an image: berth images show alice/app:v1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := i.client(cmd)
			if err != nil {
				return err
			}
			p, err := c.InRegistry(args[0])
			if err != nil {
				return err
			}
			shown, err := c.Show(cmd.Context(), p)
			if err != nil {
				return err
			}
			return i.print(cmd, shown, func(w io.Writer) { printShown(w, shown) })
		},
	}
}

func printShown(w io.Writer, s remote.Shown) {
	fmt.Fprintf(w, "image      %s\ndigest     %s\ntype       %s\n", s.Image, s.Digest, s.MediaType)
	if s.Unikernel == nil {
		fmt.Fprint(w, "unikernel  no: it has no kernel, initrd or ROM\n")
		if len(s.Platforms) > 0 {
			fmt.Fprintf(w, "platforms  %s\n", strings.Join(s.Platforms, ", "))
		} else {
			fmt.Fprintf(w, "size       %s\n", size.Text(s.Bytes))
		}
	} else {
		printUnikernel(w, s.Unikernel)
	}
	for _, hint := range s.Hints {
		fmt.Fprintf(w, "\nhint: %s\n", hint)
	}
}

func printUnikernel(w io.Writer, u *image.Image) {
	fmt.Fprintf(w, "created    %s\nsize       %s\n", u.Created.Format("2006-01-02 15:04 UTC"), size.Text(u.Size))
	for _, line := range []struct{ name, value string }{
		{"args", image.QuoteArgs(u.Args)}, {"kernel", image.QuoteArgs(u.KernelArgs)}, {"env", pairs(u.Env)}, {"labels", pairs(u.Labels)},
	} {
		if line.value != "" {
			fmt.Fprintf(w, "%-9s  %s\n", line.name, line.value)
		}
	}
	for _, p := range u.Platforms {
		parts := []string{}
		if p.Kernel != nil {
			parts = append(parts, "kernel")
		}
		if p.Initrd != nil {
			parts = append(parts, "initrd")
		}
		if len(p.ROMs) > 0 {
			parts = append(parts, count(int64(len(p.ROMs)), "ROM"))
		}
		fmt.Fprintf(w, "platform   %s/%s %s %s (%s)\n", p.OS, p.Architecture, p.Digest, size.Text(p.Size), names(parts))
	}
}

// pairs writes names and values, sorted.
func pairs(all map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	return image.QuoteArgs(list)
}
