package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/catalog/images/client"
	"github.com/berth-oci/berth/cmd/berth/remote"
	"github.com/berth-oci/berth/config/size"
)

func (i *imageCommands) newList() *cobra.Command {
	var tagged bool
	cmd := &cobra.Command{
		Use:     "ls [NAMESPACE…]",
		Aliases: []string{"list"},
		Short:   "List the unikernels that a berth holds, newest first",
		Long: `List the unikernels that a berth holds and you may see, newest first: all, or those
of namespaces (alice), of repositories (alice/app) or of what lies below them, or
the official ones (official). What is no unikernel is not listed.`,
		Example: `  berth images ls
  berth images ls alice official --tagged
  berth images ls --host registry.example.com --output json`,
		Args: func(_ *cobra.Command, args []string) error { return areNames(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := i.client(cmd)
			if err != nil {
				return err
			}
			all, err := listImages(cmd.Context(), c, client.ListOptions{Namespaces: args, Tagged: tagged, NewestFirst: true})
			if err != nil {
				return err
			}
			return i.print(cmd, map[string]any{"images": all}, func(w io.Writer) {
				if len(all) == 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s shows no images.\n", c.Host())
				}
				printImages(w, all)
			})
		},
	}
	cmd.Flags().BoolVar(&tagged, "tagged", false, "leave out what has no tag")
	return cmd
}

// listImages asks the host that is meant.
func listImages(ctx context.Context, c *remote.Client, o client.ListOptions) ([]client.Image, error) {
	asks, err := imagesAPI(ctx, c)
	if err != nil {
		return nil, err
	}
	all := []client.Image{}
	for image, err := range asks.List(ctx, o) {
		if err != nil {
			return nil, askError(c.Host(), err)
		}
		all = append(all, image)
	}
	return all, nil
}

// askError says what kind of error it is, for the exit status, and what helps.
func askError(host string, err error) error {
	var answer *client.Error
	var address *url.Error
	switch {
	case client.IsGone(err):
		return fmt.Errorf("%s: %w (%w)", host, err, errListAgain)
	case errors.As(err, &answer) && answer.Status == http.StatusNotFound:
		return fmt.Errorf("%w: %s has no images API: it is no berth", remote.ErrNotFound, host)
	case errors.As(err, &answer):
		if kind := remote.Of(answer.Status); kind != nil {
			return fmt.Errorf("%s: %w (%w)", host, err, kind)
		}
	case errors.As(err, &address):
		return fmt.Errorf("%s: %w (%w)", host, err, remote.ErrUnavailable)
	}
	return fmt.Errorf("%s: %w", host, err)
}

func printImages(w io.Writer, all []client.Image) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTAGS\tCREATED\tSIZE\tPLATFORMS\tDIGEST")
	for _, image := range all {
		var platforms []string
		for _, p := range image.Platforms {
			if name := p.OS + "/" + p.Architecture; !slices.Contains(platforms, name) {
				platforms = append(platforms, name)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", image.Name(), cells(image.Tags), image.CreatedAt.UTC().Format("2006-01-02 15:04"),
			size.Text(image.Size), cells(platforms), short(image.Digest()))
	}
	_ = t.Flush()
}

// cells are some values of a cell, and how many more there are.
func cells(values []string) string {
	const most = 3
	switch more := len(values) - most; {
	case len(values) == 0:
		return "-"
	case more > 0:
		return fmt.Sprintf("%s +%d", strings.Join(values[:most], ","), more)
	}
	return strings.Join(values, ",")
}

// short is as much of a digest as people read, and as registries find nothing by.
func short(digest string) string {
	const enough = len("sha256:") + 12
	return digest[:min(len(digest), enough)]
}
