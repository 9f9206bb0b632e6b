package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config/size"
	"github.com/berth-oci/berth/registry/access"
)

// noLimit is how the commands write a quota that limits nothing.
const noLimit = "none"

// parseQuota reads a quota in bytes, 0 for none.
func parseQuota(text string) (int64, error) {
	if text == noLimit {
		return 0, nil
	}
	n, err := access.ParseQuota(text)
	if err != nil {
		return 0, fmt.Errorf("%w; or to be %s, for no limit", err, noLimit)
	}
	return n, nil
}

func (a *account) newQuota() *cobra.Command {
	return &cobra.Command{
		Use:   "quota NAME SIZE",
		Short: "Say how much an account's namespace may hold",
		Long: `Say how much an account's namespace may hold, from the next push on. SIZE is a
number with KiB, MiB, GiB or TiB, or none for no limit. What is stored already
stays, also if it is more; then nothing more can be pushed until some of it is
deleted.`,
		Example: `  berth account quota alice 20GiB
  berth account quota alice none`,
		Args: exactly(2, "the name of an account and a size: berth account quota alice 20GiB"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []cobra.Completion{noLimit}, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeName(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			quota, err := parseQuota(args[1])
			if err != nil {
				return fmt.Errorf("the size %w", err)
			}
			return a.setQuota(cmd, args[0], quota)
		},
	}
}

func (a *account) setQuota(cmd *cobra.Command, name string, quota int64) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	var changed access.Account
	var public []string
	err = a.edit(c, name, func(f *access.File, account *access.Account) error {
		account.Quota = quota
		changed, public = *account, publicOf(f, name)
		return nil
	})
	if err != nil {
		return err
	}
	used, _, err := a.used(cmd.Context(), c, name)
	if err != nil {
		return err
	}
	v := outputOf(changed, public, used)
	return a.print(cmd, v, func(w io.Writer) {
		if quota == 0 {
			fmt.Fprintf(w, "There is no limit to what %s may hold now.\n", name)
			return
		}
		fmt.Fprintf(w, "%s may hold %s now.\n", name, size.Format(quota))
		if used != nil && used.Bytes > quota {
			fmt.Fprintf(w, "It holds %s already: nothing more can be pushed until some of it is deleted.\n", size.Text(used.Bytes))
		}
	})
}
