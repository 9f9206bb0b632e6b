package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/access"
)

// accountHooks is what the account commands need of the rest of berth.
type accountHooks struct {
	// officialFolder reports whether there is a folder of official images by that
	// name: an account of the same name would make short names ambiguous.
	officialFolder func(ctx context.Context, c *config.Config, name string) (bool, error)
	// used says how much the namespaces of accounts hold, or, with no map, why that
	// is not known; the commands leave it out then.
	used func(ctx context.Context, c *config.Config, names []string) (used map[string]usage, unknown string, err error)
}

// usage is what a namespace holds.
type usage struct {
	Bytes  int64 `json:"bytes"`
	Images int64 `json:"images"`
}

// account is what the account commands share.
type account struct {
	settings
	hooks  accountHooks
	output string
}

func newAccount(hooks accountHooks) *cobra.Command {
	a := &account{hooks: hooks}
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Say who may use the registry",
		Long: `Say who may use the registry.

Without accounts a registry is open: everyone who reaches it may read and write.
The first account closes it. From then on every client logs in, with the name of
an account and one of its tokens as the password.

An account owns the namespace of its name: what it pushes as alice/app, nobody
else sees. Everyone with an account may pull the official images (official/…).
Administrators may do everything; other accounts can be granted more.

These commands change the accounts file (accounts.file, by default accounts.yaml
in the data folder) and need no registry that runs. One that runs takes over what
they change at once, without a restart: a revoked token is refused from the next
request on. The file holds no secrets, only hashes of them.`,
		Example: `  # close the registry, with an administrator
  berth account add root --admin

  # a tenant, and a second token for its CI
  berth account add alice --quota 10GiB
  berth account token add alice --label ci --expires 2160h

  # a controller that may pull everything of alice, and change nothing
  berth account add controller --read-only
  berth account grant controller read alice`,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&a.file, "config", "", "configuration file (YAML; also "+config.EnvFile+")")
	f.StringVar(&a.data, "data", "", "folder for everything that berth keeps (default ./berth-data)")
	f.StringVarP(&a.output, "output", "o", "text", "form of what is printed: text or json")
	_ = cmd.MarkPersistentFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkPersistentFlagDirname("data")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.PersistentPostRunE = a.audit
	cmd.AddCommand(a.newAdd(), a.newList(), a.newShow(), a.newRemove(), a.newToken(), a.newGrant(), a.newRevoke(),
		a.newQuota(), a.newRename(), a.newPublish(), a.newUnpublish())
	return cmd
}

// load reads the configuration and checks the flags that all commands have.
func (a *account) load() (*config.Config, error) {
	if a.output != "text" && a.output != "json" {
		return nil, fmt.Errorf("--output: %q is neither text nor json", a.output)
	}
	return a.loadAnyway()
}

// loadFile is load, and reads the accounts.
func (a *account) loadFile() (*config.Config, *access.File, error) {
	c, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	file, err := a.read(c)
	return c, file, err
}

// read reads the accounts.
func (a *account) read(c *config.Config) (*access.File, error) {
	file, err := access.Read(c.Accounts.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there are no accounts yet (%s): the registry is open; berth account add NAME --admin makes the first", c.Accounts.File)
	}
	return file, err
}

// used says what an account's namespace holds, nil and why if that is not known.
func (a *account) used(ctx context.Context, c *config.Config, name string) (*usage, string, error) {
	all, unknown, err := a.hooks.used(ctx, c, []string{name})
	if used, ok := all[name]; ok {
		return &used, "", err
	}
	return nil, unknown, err
}

// edit changes one account.
func (a *account) edit(c *config.Config, name string, change func(*access.File, *access.Account) error) error {
	return a.editFile(c, func(f *access.File) error {
		account, err := f.Account(name)
		if err != nil {
			return err
		}
		return change(f, account)
	})
}

// editFile changes the file of a registry that has accounts.
func (a *account) editFile(c *config.Config, change func(*access.File) error) error {
	return access.EditFor(c.Accounts.File, c.Data, func(f *access.File) error {
		if f.New {
			_, err := a.read(c)
			return cmp.Or(err, errors.New("the accounts file has just come into being; try again"))
		}
		return change(f)
	})
}

// print writes what a command has to say: v as JSON, or text.
func (a *account) print(cmd *cobra.Command, v any, text func(w io.Writer)) error {
	if a.output == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(v)
	}
	text(cmd.OutOrStdout())
	return nil
}

// base is scheme and host by which a client reaches a berth with this
// configuration.
func base(c *config.Config) string {
	if c.HTTP.PublicURL != "" {
		return c.HTTP.PublicURL
	}
	scheme := "http"
	if c.HTTP.TLS.Certificate != "" {
		scheme = "https"
	}
	if listen := c.HTTP.Listen; !strings.HasPrefix(listen, ":") {
		return scheme + "://" + reachable(listen)
	}
	return scheme + "://127.0.0.1" + c.HTTP.Listen
}

// completeName completes the first argument with the names of accounts.
func (a *account) completeName(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(len(args) == 0, toComplete, func(f *access.File) (found []string) {
		for _, account := range f.Accounts {
			found = append(found, account.Name)
		}
		return found
	})
}

// completeLabel completes the second argument with the labels of the tokens of
// the account that is the first.
func (a *account) completeLabel(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeName(cmd, args, toComplete)
	}
	return a.complete(len(args) == 1, toComplete, func(f *access.File) (found []string) {
		if account, err := f.Account(args[0]); err == nil {
			for _, t := range account.Tokens {
				found = append(found, t.Label)
			}
		}
		return found
	})
}

func (a *account) complete(wanted bool, toComplete string, names func(*access.File) []string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if !wanted {
		return nil, none
	}
	c, err := a.load()
	if err != nil {
		return nil, none
	}
	file, err := a.read(c)
	if err != nil {
		return nil, none
	}
	for _, name := range names(file) {
		if strings.HasPrefix(name, toComplete) {
			found = append(found, name)
		}
	}
	return found, none
}
