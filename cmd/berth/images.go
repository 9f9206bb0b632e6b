package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/cmd/berth/remote"
)

// imageCommands is what the commands that are clients share.
type imageCommands struct {
	where  where
	output string
}

func newImagesCommand() *cobra.Command {
	i := &imageCommands{}
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List, watch, show, tag, copy and delete images of any berth",
		Long: `List, watch, show, tag, copy and delete images of any berth; all but the first two
works with any other registry too.

An image is NAME:TAG or NAME@DIGEST, like alice/app:v1, with a host in front if it
is not the one that is meant: --host, BERTH_HOST, or api.METRO of UKC_METRO, else
127.0.0.1:5000. As with docker, the first part of a name is a host if there is a
dot or a colon in it. oci:FOLDER:TAG is an image in a folder, as skopeo has it.

The token for that host is in the file of --token-file, or in BERTH_TOKEN,
UKC_TOKEN, UNIKRAFT_CLOUD_TOKEN or KRAFTCLOUD_TOKEN: the base64 of account:token, as "berth account add"
prints it, or account:token itself. A variable with a token is for the host of the
variable beside it (BERTH_HOST, UKC_METRO), where that is set. Every other host
gets what docker has for it, in its configuration or from its credential helpers.

Exit status: 1 in general, 2 for wrong usage, 3 if something is not there, 4 if it
is not allowed, 5 if the registry does not answer or cannot do it now, 6 if
content is not what its digest says, 7 if changes are not known any more.`,
		Example: `  berth images ls
  berth images watch
  berth images show alice/app:v1
  berth images cp alice/app:v1 oci:backup:v1
  berth images cp ghcr.io/some/app:v1 alice/app:v1
  berth images rm alice/app:v1`,
	}
	i.where.flags(cmd.PersistentFlags())
	cmd.PersistentFlags().StringVarP(&i.output, "output", "o", "text", "form of what is printed: text or json")
	_ = cmd.MarkPersistentFlagFilename("token-file")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(i.newList(), i.newShow(), i.newRemove(), i.newTag(), i.newCopy(), i.newWatch())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, c := range cmd.Commands() {
		c.Args = usageOf(c.Args)
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	return cmd
}

// usageOf makes errors of usage of those of arguments.
func usageOf(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := args(cmd, given); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// client is what asks registries, as the flags and the environment say.
func (i *imageCommands) client(cmd *cobra.Command) (*remote.Client, error) {
	if i.output != "text" && i.output != "json" {
		return nil, usageError{fmt.Errorf("--output: %q is neither text nor json", i.output)}
	}
	o, err := i.where.options(cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	return remote.New(o)
}

// print writes what a command has to say: v as JSON, or text.
func (i *imageCommands) print(cmd *cobra.Command, v any, text func(w io.Writer)) error {
	if i.output == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(v)
	}
	text(cmd.OutOrStdout())
	return nil
}

func (i *imageCommands) newTag() *cobra.Command {
	return &cobra.Command{
		Use:   "tag IMAGE TAG…",
		Short: "Give an image further tags in its repository",
		Long: `Give an image further tags in its repository. A tag that there is already moves
to it. For another repository: berth images cp.`,
		Example: `  berth images tag alice/app:v1.2 v1 latest
  berth images tag alice/app@sha256:… stable`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("wants an image and one or more tags for it: %s alice/app:v1.2 v1 latest", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := i.client(cmd)
			if err != nil {
				return err
			}
			p, err := c.InRegistry(args[0])
			if err != nil {
				return err
			}
			d, err := c.Tag(cmd.Context(), p, args[1:]...)
			if err != nil {
				return err
			}
			v := map[string]any{"image": p.String(), "digest": d.Digest, "tags": args[1:]}
			return i.print(cmd, v, func(w io.Writer) {
				for _, tag := range args[1:] {
					fmt.Fprintf(w, "%s/%s:%s is %s now.\n", p.Host, p.Repository, tag, d.Digest)
				}
			})
		},
	}
}
