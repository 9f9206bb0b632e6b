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
			c, file, err := a.loadFile()
			if err != nil {
				return err
			}
			forms, err := a.outputs(cmd, c, file)
			if err != nil {
				return err
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
				printAccounts(w, forms)
				if len(file.Public) > 0 {
					fmt.Fprintf(w, "\npublic, also without an account: %s\n", names(file.Public))
				}
			})
		},
	}
}

// outputs are all accounts with what they use, if that is known.
func (a *account) outputs(cmd *cobra.Command, c *config.Config, file *access.File) ([]accountOutput, error) {
	all := make([]string, len(file.Accounts))
	for i, account := range file.Accounts {
		all[i] = account.Name
	}
	used, unknown, err := a.hooks.used(cmd.Context(), c, all)
	if err != nil {
		return nil, err
	}
	sayUnknown(cmd, unknown)
	forms := []accountOutput{}
	for _, account := range file.Accounts {
		f := outputOf(account, publicOf(file, account.Name), nil)
		if u, ok := used[account.Name]; ok {
			f.Used = &u
		}
		forms = append(forms, f)
	}
	return forms, nil
}

// sayUnknown says why it is not said what is used.
func sayUnknown(cmd *cobra.Command, why string) {
	if why != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "What is used is not known: %s.\n", why)
	}
}

func printAccounts(w io.Writer, forms []accountOutput) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns, known := "TOKENS\tREADS\tWRITES\n", len(forms) > 0 && forms[0].Used != nil
	if known {
		columns = "USED\t" + columns
	}
	fmt.Fprint(t, "NAME\tADMIN\tQUOTA\t"+columns)
	for _, f := range forms {
		admin, used := "-", ""
		if f.Admin {
			admin = "yes"
		}
		if known {
			used = size.Text(f.Used.Bytes) + "\t"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s%d\t%s\t%s\n", f.Name, admin, quotaText(f.Quota), used, len(f.Tokens), names(f.Read), names(f.Write))
	}
	_ = t.Flush()
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
			used, unknown, err := a.used(cmd.Context(), c, account.Name)
			if err != nil {
				return err
			}
			sayUnknown(cmd, unknown)
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
