package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/config/size"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage/reference"
)

// accountOutput is an account in JSON.
type accountOutput struct {
	Name  string `json:"name"`
	Admin bool   `json:"admin"`
	// Quota is in bytes; nil is no limit.
	Quota *int64 `json:"quota,omitempty"`
	// Used is nil where it is not known.
	Used  *usage   `json:"used,omitempty"`
	Read  []string `json:"read"`
	Write []string `json:"write"`
	// Public is what everyone may read of its namespace.
	Public []string      `json:"public,omitempty"`
	Tokens []tokenOutput `json:"tokens"`
}

// tokenOutput is a token in JSON.
type tokenOutput struct {
	Label    string     `json:"label"`
	Created  *time.Time `json:"created,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
	Expired  bool       `json:"expired"`
	ReadOnly bool       `json:"read_only"`
}

func outputOf(a access.Account, public []string, used *usage) accountOutput {
	f := accountOutput{
		Name: a.Name, Admin: a.Admin, Used: used,
		Read: append([]string{}, a.Read...), Write: append([]string{}, a.Write...), Public: public, Tokens: []tokenOutput{},
	}
	if a.Quota != 0 {
		f.Quota = &a.Quota
	}
	for _, t := range a.Tokens {
		f.Tokens = append(f.Tokens, tokenOutputOf(t))
	}
	return f
}

func tokenOutputOf(t access.Token) tokenOutput {
	f := tokenOutput{Label: t.Label, ReadOnly: t.ReadOnly}
	if !t.Created.IsZero() {
		f.Created = &t.Created
	}
	if !t.Expires.IsZero() {
		f.Expires, f.Expired = &t.Expires, !time.Now().Before(t.Expires)
	}
	return f
}

func (a *account) newList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Example: `  berth account list
  berth account list --output json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, file, err := a.loadFile()
			if err != nil {
				return err
			}
			forms := []accountOutput{}
			for _, account := range file.Accounts {
				forms = append(forms, outputOf(account, publicOf(file, account.Name), nil))
			}
			v := struct {
				Accounts []accountOutput `json:"accounts"`
				Public   []string        `json:"public,omitempty"`
			}{forms, file.Public}
			return a.print(cmd, v, func(w io.Writer) {
				if len(forms) == 0 {
					fmt.Fprintln(w, "no accounts: nobody can log in; berth account add NAME --admin adds one")
					return
				}
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "NAME\tADMIN\tQUOTA\tTOKENS\tREADS\tWRITES")
				for _, f := range forms {
					admin := "-"
					if f.Admin {
						admin = "yes"
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", f.Name, admin, quotaText(f.Quota), len(f.Tokens), names(f.Read), names(f.Write))
				}
				_ = t.Flush()
				if len(file.Public) > 0 {
					fmt.Fprintf(w, "\npublic, also without an account: %s\n", names(file.Public))
				}
			})
		},
	}
}

// find reads one account, the file that it is in, and the configuration that says
// where that is.
func (a *account) find(name string) (*config.Config, *access.File, *access.Account, error) {
	c, file, err := a.loadFile()
	if err != nil {
		return nil, nil, nil, err
	}
	account, err := file.Account(name)
	return c, file, account, err
}

func (a *account) newShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show what an account may do, and its tokens without their secrets",
		Example:           "  berth account show alice",
		Args:              oneName,
		ValidArgsFunction: a.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, file, account, err := a.find(args[0])
			if err != nil {
				return err
			}
			var used *usage
			if a.hooks.used != nil {
				if used, err = a.hooks.used(cmd.Context(), c, account.Name); err != nil {
					return err
				}
			}
			f := outputOf(*account, publicOf(file, account.Name), used)
			return a.print(cmd, f, func(w io.Writer) { f.print(w) })
		},
	}
}

func (a accountOutput) print(w io.Writer) {
	fmt.Fprintf(w, "name    %s\n", a.Name)
	if a.Admin {
		fmt.Fprint(w, "admin   yes: may read and write everything\n")
	}
	fmt.Fprintf(w, "quota   %s\n", quotaText(a.Quota))
	if a.Used != nil {
		fmt.Fprintf(w, "used    %s in %s\n", size.Text(a.Used.Bytes), count(a.Used.Images, "image"))
	}
	reads := slices.Concat([]string{a.Name, reference.Official}, a.Read, a.Write)
	slices.Sort(reads)
	reads = slices.Compact(reads)
	fmt.Fprintf(w, "reads   %s\n", names(reads))
	fmt.Fprintf(w, "writes  %s\n", names(append([]string{a.Name}, a.Write...)))
	if len(a.Public) > 0 {
		fmt.Fprintf(w, "public  %s\n", names(a.Public))
	}
	fmt.Fprintln(w)
	printTokens(w, a.Tokens)
}

func quotaText(quota *int64) string {
	if quota == nil {
		return "none"
	}
	return size.Format(*quota)
}

func names(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}
