package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/config/size"
	"github.com/berth-oci/berth/registry/access"
)

func (a *account) newAdd() *cobra.Command {
	var (
		admin bool
		quota string
		token tokenFlags
	)
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add an account, and print its token",
		Long: `Add an account with one token, and print the token in each form that clients
want it in. It is shown this once: only its hash is kept. If it is lost, add
another one with "berth account token add".

NAME is also the namespace that the account owns: it is lower-case letters and
digits, with single . _ or - between them. The first account closes the
registry.`,
		Example: `  berth account add root --admin
  berth account add alice --quota 10GiB
  berth account add controller --read-only --label k8s
  berth account add contractor --expires 720h

  # into a script
  token=$(berth account add ci --output json | jq -r .token)`,
		Args:              oneName,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			added := access.Account{Name: args[0], Admin: admin}
			if quota != "" {
				var err error
				if added.Quota, err = parseQuota(quota); err != nil {
					return fmt.Errorf("--quota %w", err)
				}
			}
			return a.add(cmd, added, quota == "", token)
		},
	}
	cmd.Flags().BoolVar(&admin, "admin", false, "let the account do everything, in every namespace")
	cmd.Flags().StringVar(&quota, "quota", "", "how much the namespace may hold: 10GiB (KiB, MiB, GiB, TiB), or none (default what accounts.default_quotas says, else no limit)")
	token.flags(cmd, "default")
	return cmd
}

// add adds an account with one token, and prints both. With byDefault, its quota is
// that of the configuration.
func (a *account) add(cmd *cobra.Command, added access.Account, byDefault bool, token tokenFlags) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	if byDefault {
		added.Quota = c.Accounts.DefaultQuotas.Of(added.Name)
	}
	t, secret, err := token.make()
	if err != nil {
		return err
	}
	if err := errors.Join(access.CheckName(added.Name), added.AddToken(t)); err != nil {
		return err
	}
	if err := a.checkFolder(cmd, c, added.Name); err != nil {
		return err
	}
	first, public := false, []string(nil)
	err = access.EditFor(c.Accounts.File, c.Data, func(f *access.File) error {
		first, public = f.New, publicOf(f, added.Name)
		return f.Add(added)
	})
	if err != nil {
		return err
	}
	registry, _ := concerned(c)
	v := addedOutput{
		accountOutput: outputOf(added, public, nil), File: c.Accounts.File, First: first, Registry: registry,
		clientTokens: clientTokensOf(base(c), added.Name, t.Label, secret),
	}
	return a.print(cmd, v, func(w io.Writer) {
		kind := "account"
		if added.Admin {
			kind = "administrator"
		}
		fmt.Fprintf(w, "Added the %s %s (%s).\n", kind, added.Name, c.Accounts.File)
		if byDefault && added.Quota != 0 {
			fmt.Fprintf(w, "It may hold %s (accounts.default_quotas).\n", size.Format(added.Quota))
		}
		if first {
			fmt.Fprint(w, closes(c))
			if !added.Admin {
				fmt.Fprint(w, "There is no administrator yet: berth account add NAME --admin adds one.\n")
			}
		}
		if len(public) > 0 {
			fmt.Fprintf(w, "Of its namespace is public already: %s (berth account unpublish).\n", names(public))
		}
		v.clientTokens.print(w)
	})
}

// checkFolder refuses the name of an official folder.
func (a *account) checkFolder(cmd *cobra.Command, c *config.Config, name string) error {
	if a.hooks.officialFolder == nil {
		return nil
	}
	taken, err := a.hooks.officialFolder(cmd.Context(), c, name)
	if err != nil {
		return fmt.Errorf("cannot tell whether there are official images below %s/: %w", name, err)
	}
	if taken {
		return fmt.Errorf("there are official images below official/%s/, which clients call %s/…: an account of that name would be mistaken for them; choose another name", name, name)
	}
	return nil
}

// addedOutput is what add prints as JSON.
type addedOutput struct {
	accountOutput
	clientTokens
	File string `json:"file"`
	// First says that this account is the first of the file.
	First bool `json:"first"`
	// Registry says which one that concerns: running, stopped, none if no berth
	// has run with the data folder, or other if one runs that uses another file.
	Registry string `json:"registry"`
}
