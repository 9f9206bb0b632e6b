package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/access"
)

func (a *account) newRename() *cobra.Command {
	var leave bool
	cmd := &cobra.Command{
		Use:   "rename NAME NEW",
		Short: "Give an account another name",
		Long: `Give an account another name, from the next request on. Its tokens, quota and
grants stay; clients log in with the new name, and where they send account and
token as one (UKC_TOKEN), with a new value. What others were granted in its
namespace, and what is public of it, is renamed with it.

Images keep their names, since everybody who pulls them knows them by these. So
an account whose namespace holds some is only renamed with --leave-images: then
they stay where they are, with what others were granted and what is public, and
the account goes on writing there. No quota counts what is in the old namespace
from then on.`,
		Example: `  berth account rename alice alina
  berth account rename alice alina --leave-images`,
		Args:              exactly(2, "the name of an account and a new one: berth account rename alice alina"),
		ValidArgsFunction: a.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.rename(cmd, args[0], args[1], leave)
		},
	}
	cmd.Flags().BoolVar(&leave, "leave-images", false, "leave its images in the old namespace, where it goes on writing")
	return cmd
}

func (a *account) rename(cmd *cobra.Command, from, to string, leave bool) error {
	c, file, err := a.loadFile()
	if err != nil {
		return err
	}
	if _, err := file.Account(from); err != nil {
		return err
	}
	if err := access.CheckName(to); err != nil {
		return err
	}
	if err := a.checkFolder(cmd, c, to); err != nil {
		return err
	}
	if !leave {
		if err := a.holdsNothing(cmd.Context(), c, from); err != nil {
			return err
		}
	}
	var changed access.Account
	var public []string
	err = access.EditFor(c.Accounts.File, c.Data, func(f *access.File) error {
		if err := f.Rename(from, to, !leave); err != nil {
			return err
		}
		account, err := f.Account(to)
		if err == nil {
			changed, public = *account, publicOf(f, to)
		}
		return err
	})
	if err != nil {
		return err
	}
	return a.print(cmd, outputOf(changed, public, nil), func(w io.Writer) {
		fmt.Fprintf(w, "%s is called %s now, and logs in with that name and the tokens that it has.\n", from, to)
		if leave {
			fmt.Fprintf(w, "Its images stay in %s/, where it may go on writing; no quota counts them now.\n", from)
		}
	})
}

// holdsNothing returns an error if a namespace holds images, or if that cannot be
// said.
func (a *account) holdsNothing(ctx context.Context, c *config.Config, name string) error {
	const otherwise = "--leave-images renames the account alone"
	held, err := contentsOf(ctx, c, name)
	if err != nil {
		return fmt.Errorf("cannot tell whether %s holds images, which keep their names: %w; %s", name, err, otherwise)
	}
	names, err := held.repositories(ctx)
	if err := errors.Join(err, held.close()); err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%s holds %s (%s), which would keep their names: %s", name, count(int64(len(names)), "repository"), listed(names), otherwise)
	}
	return nil
}
