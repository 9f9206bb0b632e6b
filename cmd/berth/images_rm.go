package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/cmd/berth/remote"
)

func (i *imageCommands) newRemove() *cobra.Command {
	var yes, untag, all bool
	cmd := &cobra.Command{
		Use:     "rm IMAGE…",
		Aliases: []string{"remove"},
		Short:   "Delete images",
		Long: `Delete images. By a tag, the tag goes, and with its last tag the image. By a
digest, the image goes with all its tags. With an index go its manifests, but for
those that have a tag of their own or are part of another one.

It says first what goes, and asks, or wants --yes where nobody can be asked.`,
		Example: `  berth images rm alice/app:v1
  berth images rm alice/app:v1 --untag
  berth images rm alice/app@sha256:… --yes
  berth images rm alice/app --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("wants one or more images: %s alice/app:v1", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := i.client(cmd)
			if err != nil {
				return err
			}
			if untag && all {
				return usageError{errors.New("--untag and --all are not for the same image")}
			}
			leaving, err := departures(cmd, c, args, untag, all)
			if err != nil {
				return err
			}
			return i.remove(cmd, c, leaving, yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&untag, "untag", false, "take only the tag away")
	cmd.Flags().BoolVar(&all, "all", false, "delete everything in a repository (of a berth or a Harbor)")
	return cmd
}

// departure is an image that goes, or a repository.
type departure struct {
	remote.Leaving
	place remote.Place
	All   bool `json:"all"`
}

// departures are what is named, each image once.
func departures(cmd *cobra.Command, c *remote.Client, args []string, untag, all bool) (leaving []departure, err error) {
	places := make([]remote.Place, len(args))
	for n, arg := range args {
		if places[n], err = c.InRegistry(arg); err != nil {
			return nil, err
		}
	}
	for _, p := range places {
		d, err := departureOf(cmd, c, p, places, untag, all)
		if err != nil {
			return nil, err
		}
		same := func(other departure) bool {
			return other.place.Host == p.Host && other.place.Repository == p.Repository &&
				(d.Whole && other.Whole && other.Digest == d.Digest || other.place == p)
		}
		if !slices.ContainsFunc(leaving, same) {
			leaving = append(leaving, d)
		}
	}
	return leaving, nil
}

func departureOf(cmd *cobra.Command, c *remote.Client, p remote.Place, also []remote.Place, untag, all bool) (departure, error) {
	if !all {
		leaving, err := c.Leaves(cmd.Context(), p, also, untag)
		return departure{leaving, p, false}, err
	}
	if p.Tag != "" || p.Digest != "" {
		return departure{}, usageError{fmt.Errorf("%s: --all is for a repository, without a tag or a digest", p)}
	}
	d := departure{remote.Leaving{Image: p.String(), Tags: []string{}, Children: []remote.Child{}}, p, true}
	err := c.Tags(cmd.Context(), p, func(tags []string) error {
		d.Tags = append(d.Tags, tags...)
		return nil
	})
	return d, err
}

// print says what goes.
func (d departure) print(w io.Writer) {
	switch {
	case d.All:
		fmt.Fprintf(w, "%s: everything, %s\n", d.Image, countedTags(d.Tags))
		return
	case !d.Whole:
		fmt.Fprintf(w, "%s: the tag; %s stays\n", d.Image, d.Digest)
		return
	}
	fmt.Fprintf(w, "%s: %s, %s\n", d.Image, d.Digest, countedTags(d.Tags))
	for _, child := range d.Children {
		fmt.Fprintln(w, strings.TrimRight("  with "+child.Digest.String()+" "+child.Platform, " "))
	}
}

func countedTags(tags []string) string {
	if len(tags) == 0 {
		return "without a tag"
	}
	return "with " + count(int64(len(tags)), "tag") + ": " + listed(tags)
}

func (i *imageCommands) remove(cmd *cobra.Command, c *remote.Client, leaving []departure, yes bool) error {
	in, out := cmd.InOrStdin(), cmd.ErrOrStderr()
	for _, d := range leaving {
		d.print(out)
	}
	switch {
	case yes:
	case interactiveInput(in):
		fmt.Fprint(out, "Delete this? [y/N] ")
		if !agreed(in) {
			fmt.Fprintln(out, "Nothing was deleted.")
			return errSilent
		}
	default:
		return usageError{errors.New("nobody can be asked here: --yes says that it is meant")}
	}
	for n, d := range leaving {
		var err error
		if d.All {
			err = c.Clear(cmd.Context(), d.place)
		} else {
			err = c.Delete(cmd.Context(), d.Leaving)
		}
		if err != nil {
			return fmt.Errorf("%w (deleted before: %d of %d)", err, n, len(leaving))
		}
	}
	return i.print(cmd, map[string]any{"deleted": leaving}, func(w io.Writer) {
		for _, d := range leaving {
			fmt.Fprintf(w, "Deleted %s.\n", d.Image)
		}
	})
}
