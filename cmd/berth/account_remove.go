package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/access"
)

// removal is an account that is to be removed.
type removal struct {
	*account
	config *config.Config
	name   string
	purge  bool
	held   contents // with purge
}

func (a *account) newRemove() *cobra.Command {
	var yes, purge bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an account, its tokens and what it was granted",
		Long: `Remove an account, its tokens and what it was granted, from the next request on.

The images in its namespace stay stored: administrators see them, and so does
whoever was granted them; what was public of them is not any more. An account
that is later added under the same name owns them again. The registry stays
closed, also without any account.

With --purge the images go too, and what others were granted in the namespace.
It says first what goes. The berth that runs deletes them; if none does, the
command does so itself.

On a terminal it asks first.`,
		Example: `  berth account remove alice
  berth account remove alice --yes
  berth account remove alice --purge`,
		Args:              oneName,
		ValidArgsFunction: a.completeName,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c, file, err := a.loadFile()
			if err != nil {
				return err
			}
			account, err := file.Account(args[0])
			if err != nil {
				return err
			}
			r := removal{account: a, config: c, name: args[0], purge: purge}
			var names []string
			if purge {
				if r.held, err = contentsOf(cmd.Context(), c, r.name); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, r.held.close()) }()
				if names, err = r.held.repositories(cmd.Context()); err != nil {
					return err
				}
			}
			if err := mayRemove(cmd, *account, names, purge, yes); err != nil {
				return err
			}
			return r.run(cmd)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&purge, "purge", false, "delete the images in its namespace too")
	return cmd
}

// mayRemove says what goes, and asks where somebody can answer. Images do not go
// where nobody could.
func mayRemove(cmd *cobra.Command, account access.Account, names []string, purge, yes bool) error {
	in, out := cmd.InOrStdin(), cmd.ErrOrStderr()
	if purge {
		goes := "It holds no images."
		if len(names) > 0 {
			goes = fmt.Sprintf("With it goes every image in %s: %s.", count(int64(len(names)), "repository"), listed(names))
		}
		fmt.Fprintln(out, goes)
	}
	switch {
	case yes:
		return nil
	case interactiveInput(in):
		if !confirm(in, out, account) {
			fmt.Fprintln(out, "Nothing was removed.")
			return errSilent
		}
	case purge:
		return errors.New("--purge deletes images for good, and nobody can be asked here: --yes says that it is meant")
	}
	return nil
}

func (r *removal) run(cmd *cobra.Command) error {
	gone := []string{}
	if r.purge {
		var err error
		if gone, err = purge(cmd.Context(), r.held); err != nil {
			said := ""
			if len(gone) > 0 {
				said = fmt.Sprintf("; gone are %s", listed(gone))
			}
			return fmt.Errorf("the account %s is not removed, for its images could not all be deleted: %w%s", r.name, err, said)
		}
	}
	admins, public, granted := 0, []string(nil), []string(nil)
	err := access.EditFor(r.config.Accounts.File, r.config.Data, func(f *access.File) error {
		public = publicOf(f, r.name)
		for _, other := range f.Accounts {
			if other.Admin && other.Name != r.name {
				admins++
			}
		}
		if err := f.Remove(r.name); err != nil {
			return err
		}
		if r.purge {
			granted = f.RevokeAll(r.name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	v := map[string]any{"removed": r.name, "administrators_left": admins}
	if r.purge {
		v["purged"] = append([]string{}, gone...)
	}
	return r.print(cmd, v, func(w io.Writer) {
		r.say(w, gone, public, granted)
		if admins == 0 {
			fmt.Fprint(w, "There is no administrator left: berth account add NAME --admin adds one.\n")
		}
	})
}

func (r *removal) say(w io.Writer, gone, public, granted []string) {
	if r.purge {
		fmt.Fprintf(w, "Removed the account %s and the images in %s.\n", r.name, count(int64(len(gone)), "repository"))
	} else {
		fmt.Fprintf(w, "Removed the account %s. Images in its namespace stay stored.\n", r.name)
	}
	if len(public) > 0 {
		fmt.Fprintf(w, "No longer public: %s.\n", names(public))
	}
	if len(granted) > 0 {
		fmt.Fprintf(w, "No longer granted anything in its namespace: %s.\n", names(granted))
	}
}

func interactiveInput(in io.Reader) bool {
	w, ok := in.(io.Writer) // a file is both
	return ok && interactive(w)
}

func confirm(in io.Reader, out io.Writer, account access.Account) bool {
	fmt.Fprintf(out, "Remove the account %s with %s? [y/N] ", account.Name, count(int64(len(account.Tokens)), "token"))
	return agreed(in)
}

// agreed reads the answer to a question: only yes is yes.
func agreed(in io.Reader) bool {
	answer, _ := bufio.NewReader(in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
