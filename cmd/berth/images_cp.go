package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/cmd/berth/remote"
	"github.com/berth-oci/berth/config/size"
)

func (i *imageCommands) newCopy() *cobra.Command {
	var jobs int
	cmd := &cobra.Command{
		Use:     "cp FROM TO",
		Aliases: []string{"copy"},
		Short:   "Copy an image between registries and folders, with all its platforms",
		Long: `Copy an image between registries and folders with an OCI layout, byte by byte and
with all its platforms. Where TO has no tag, it gets that of FROM.

A copy that was cut off goes on where it was when the command is given again: what
is there is not sent twice. Within one registry nothing is sent. The image has no
tag before all of it is there, and what does not have its digest is refused.`,
		Example: `  berth images cp alice/app:v1 bob/app:v1
  berth images cp alice/app:v1 oci:backup:v1
  berth images cp oci:backup:v1 registry.example.com/alice/app
  berth images cp docker.io/library/hello-world:latest alice/hello`,
		Args: exactly(2, "an image and where it goes: berth images cp alice/app:v1 oci:backup:v1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if jobs < 1 || jobs > 64 {
				return usageError{fmt.Errorf("--jobs: %d is not between 1 and 64", jobs)}
			}
			c, err := i.client(cmd)
			if err != nil {
				return err
			}
			from, err := c.Parse(args[0])
			if err != nil {
				return err
			}
			to, err := c.Parse(args[1])
			if err != nil {
				return err
			}
			return i.copy(cmd, c, from, to, jobs)
		},
	}
	cmd.Flags().IntVar(&jobs, "jobs", 4, "how many blobs are copied at a time")
	return cmd
}

func (i *imageCommands) copy(cmd *cobra.Command, c *remote.Client, from, to remote.Place, jobs int) error {
	o, finish := progressOf(cmd.ErrOrStderr(), remote.CopyOptions{Jobs: jobs})
	begin := time.Now()
	done, err := c.Copy(cmd.Context(), from, to, o)
	finish()
	if err != nil {
		return err
	}
	return i.print(cmd, done, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n", done.Digest)
		fmt.Fprintf(w, "%s -> %s: %s copied (%s) in %s, %d mounted, %d there already\n", done.From, done.To,
			count(done.Copied, "part"), size.Text(done.Bytes), time.Since(begin).Round(time.Millisecond), done.Mounted, done.There)
	})
}

// progressOf shows a bar on a terminal, until finish is called.
func progressOf(w io.Writer, o remote.CopyOptions) (_ remote.CopyOptions, finish func()) {
	if !interactive(w) {
		return o, func() {}
	}
	bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("copying"),
		progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
	o.Found = func(bytes int64) { bar.AddMax64(bytes) }
	o.Done = func(bytes int64) { _ = bar.Add64(bytes) }
	return o, func() { _ = bar.Finish() }
}
