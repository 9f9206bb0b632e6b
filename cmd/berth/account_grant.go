package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/registry/access"
)

const grantArguments = "the name of an account, read or write, and one or more namespaces or repositories: berth account %s alice read team bob/app"

func (a *account) newGrant() *cobra.Command {
	return &cobra.Command{
		Use:   "grant NAME read|write NAMESPACE…",
		Short: "Let an account read or write more than its own namespace",
		Long: `Let an account read or write more than its own namespace, from the next request
on. A NAMESPACE is one as a whole (team, or that of another account), or a
repository in it with what lies below (bob/app). Who may write may also read.`,
		Example: `  # a namespace that two share
  berth account grant alice write team
  berth account grant bob write team

  # one repository of bob
  berth account grant alice read bob/app

  # let alice publish official images
  berth account grant alice write official`,
		Args:              grantArgs("grant"),
		ValidArgsFunction: a.completeGrant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, args, access.Grant, "may now")
		},
	}
}

func (a *account) newRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME read|write NAMESPACE…",
		Short: "Take back what an account was granted",
		Long: `Take back what an account was granted, from the next request on. Its own
namespace stays its own. To take a token away: berth account token revoke.`,
		Example:           "  berth account revoke alice write team",
		Args:              grantArgs("revoke"),
		ValidArgsFunction: a.completeGrant,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, args, access.Revoke, "may no longer")
		},
	}
}

func grantArgs(verb string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < 3 || args[1] != "read" && args[1] != "write" {
			return fmt.Errorf("wants "+grantArguments, verb)
		}
		return nil
	}
}

// change changes what an account may read or write.
func (a *account) change(cmd *cobra.Command, args []string, how func(*[]string, ...string) error, says string) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	name, right, namespaces := args[0], args[1], args[2:]
	var changed access.Account
	var public []string
	err = a.edit(c, name, func(f *access.File, account *access.Account) error {
		list := &account.Read
		if right == "write" {
			list = &account.Write
		}
		err := how(list, namespaces...)
		changed, public = *account, publicOf(f, name)
		return err
	})
	if err != nil {
		return err
	}
	return a.print(cmd, outputOf(changed, public, nil), func(w io.Writer) {
		fmt.Fprintf(w, "%s %s %s %s.\n", name, says, right, strings.Join(namespaces, ", "))
		if changed.Admin {
			fmt.Fprintf(w, "As an administrator %s may read and write everything anyway.\n", name)
		}
	})
}

func (a *account) completeGrant(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.completeName(cmd, args, toComplete)
	case 1:
		return []cobra.Completion{"read", "write"}, cobra.ShellCompDirectiveNoFileComp
	default:
		return a.completeName(cmd, nil, toComplete)
	}
}

// oneName wants the name of an account and nothing else.
func oneName(cmd *cobra.Command, args []string) error {
	return exactly(1, "one argument, the name of an account: "+cmd.CommandPath()+" alice")(cmd, args)
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("wants %s", what)
		}
		return nil
	}
}
