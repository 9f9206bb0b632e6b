package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/registry/access"
)

func (a *account) newRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an account, its tokens and what it was granted",
		Long: `Remove an account, its tokens and what it was granted, from the next request on.

The images in its namespace stay stored: administrators see them, and so does
whoever was granted them; what was public of them is not any more. An account
that is later added under the same name owns them again. The registry stays closed, also without any account.

On a terminal it asks first.`,
		Example: `  berth account remove alice
  berth account remove alice --yes`,
		Args:              oneName,
		ValidArgsFunction: a.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			c, file, err := a.loadFile()
			if err != nil {
				return err
			}
			account, err := file.Account(name)
			if err != nil {
				return err
			}
			if in := cmd.InOrStdin(); !yes && interactiveInput(in) && !confirm(in, cmd.ErrOrStderr(), *account) {
				fmt.Fprintln(cmd.ErrOrStderr(), "Nothing was removed.")
				return errSilent
			}
			admins, public := 0, []string(nil)
			err = access.EditFor(c.Accounts.File, c.Data, func(f *access.File) error {
				public = publicOf(f, name)
				for _, other := range f.Accounts {
					if other.Admin && other.Name != name {
						admins++
					}
				}
				return f.Remove(name)
			})
			if err != nil {
				return err
			}
			return a.print(cmd, map[string]any{"removed": name, "administrators_left": admins}, func(w io.Writer) {
				fmt.Fprintf(w, "Removed the account %s. Images in its namespace stay stored.\n", name)
				if len(public) > 0 {
					fmt.Fprintf(w, "No longer public: %s.\n", names(public))
				}
				if admins == 0 {
					fmt.Fprint(w, "There is no administrator left: berth account add NAME --admin adds one.\n")
				}
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func interactiveInput(in io.Reader) bool {
	w, ok := in.(io.Writer) // a file is both
	return ok && interactive(w)
}

func confirm(in io.Reader, out io.Writer, account access.Account) bool {
	fmt.Fprintf(out, "Remove the account %s with %s? [y/N] ", account.Name, count(int64(len(account.Tokens)), "token"))
	answer, _ := bufio.NewReader(in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
