package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/registry/access"
)

func (a *account) newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Add, list and revoke the tokens of an account",
		Long: `Add, list and revoke the tokens of an account. An account has as many as it
needs, one for each place where it is used, so that each can be revoked alone.`,
	}
	cmd.AddCommand(a.newTokenAdd(), a.newTokenList(), a.newTokenRevoke())
	return cmd
}

func (a *account) newTokenAdd() *cobra.Command {
	var token tokenFlags
	cmd := &cobra.Command{
		Use:   "add NAME --label LABEL",
		Short: "Add a token to an account, and print it",
		Long: `Add a token to an account, and print it in each form that clients want it in. It
is shown this once: only its hash is kept. The label tells the account's tokens
apart, and is what the audit log shows.`,
		Example: `  berth account token add alice --label laptop
  berth account token add alice --label ci --expires 2160h
  berth account token add alice --label dashboard --read-only`,
		Args:              oneName,
		ValidArgsFunction: a.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			t, secret, err := token.make()
			if err != nil {
				return err
			}
			err = a.edit(c, args[0], func(_ *access.File, account *access.Account) error { return account.AddToken(t) })
			if err != nil {
				return err
			}
			forms := clientTokensOf(base(c), args[0], t.Label, secret)
			v := struct {
				Name string `json:"name"`
				clientTokens
				tokenOutput
			}{args[0], forms, tokenOutputOf(t)}
			return a.print(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "Added the token %q of %s.\n", t.Label, args[0])
				forms.print(w)
			})
		},
	}
	token.flags(cmd, "")
	_ = cmd.MarkFlagRequired("label")
	return cmd
}

func (a *account) newTokenList() *cobra.Command {
	return &cobra.Command{
		Use:               "list NAME",
		Short:             "List the tokens of an account, without their secrets",
		Example:           "  berth account token list alice",
		Args:              oneName,
		ValidArgsFunction: a.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, _, account, err := a.find(args[0])
			if err != nil {
				return err
			}
			tokens := outputOf(*account, nil, nil).Tokens
			return a.print(cmd, map[string]any{"tokens": tokens}, func(w io.Writer) { printTokens(w, tokens) })
		},
	}
}

func (a *account) newTokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME LABEL",
		Short: "Take a token away, from the next request on",
		Long: `Take a token away. Whoever uses it is refused from the next request on, also
with the short-lived tokens that docker and others got for it.`,
		Example:           "  berth account token revoke alice laptop",
		Args:              exactly(2, "the name of an account and the label of one of its tokens: berth account token revoke alice laptop"),
		ValidArgsFunction: a.completeLabel,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			left := 0
			err = a.edit(c, args[0], func(_ *access.File, account *access.Account) error {
				err := account.RevokeToken(args[1])
				left = len(account.Tokens)
				return err
			})
			if err != nil {
				return err
			}
			v := map[string]any{"name": args[0], "revoked": args[1], "tokens_left": left}
			return a.print(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "Revoked the token %q of %s.\n", args[1], args[0])
				if left == 0 {
					fmt.Fprintf(w, "It was the last one: %s cannot log in until it gets another (berth account token add %s --label LABEL).\n", args[0], args[0])
				}
			})
		},
	}
}

// tokenFlags describe a token that is to be made.
type tokenFlags struct {
	label, expires string
	readOnly       bool
}

func (t *tokenFlags) flags(cmd *cobra.Command, label string) {
	f := cmd.Flags()
	f.StringVar(&t.label, "label", label, "what the token is called, to tell it from others")
	f.StringVar(&t.expires, "expires", "", "when the token ends: after a time (720h) or at a date (2027-01-01; default never)")
	f.BoolVar(&t.readOnly, "read-only", false, "let the token only read, whatever the account may do")
	_ = cmd.RegisterFlagCompletionFunc("label", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("expires", cobra.NoFileCompletions)
}

func (t *tokenFlags) make() (access.Token, string, error) {
	now := time.Now().UTC().Truncate(time.Second)
	made, secret := access.NewToken(t.label)
	made.Created, made.ReadOnly = now, t.readOnly
	if t.expires == "" {
		return made, secret, nil
	}
	if d, err := time.ParseDuration(t.expires); err == nil {
		made.Expires = now.Add(d).Truncate(time.Second)
	} else if made.Expires, err = access.ParseTime(t.expires); err != nil {
		return made, "", fmt.Errorf("--expires: %q is neither a time like 720h nor a date like 2027-01-01 or 2027-01-01T18:00:00Z", t.expires)
	}
	if !made.Expires.After(now) {
		return made, "", errors.New("--expires: that is over already")
	}
	return made, secret, nil
}

// clientTokens are a token as each client wants it.
type clientTokens struct {
	Host   string `json:"host"`
	Secret string `json:"token"`
	Bearer string `json:"bearer"`
	url    string
	name   string
}

func clientTokensOf(base, name, label, secret string) clientTokens {
	host := base
	if u, err := url.Parse(base); err == nil {
		host = u.Host
	}
	return clientTokens{Host: host, Secret: secret, Bearer: access.Bearer(name, secret), url: base, name: name}
}

func (t clientTokens) print(w io.Writer) {
	fmt.Fprintf(w, `
The token is shown this once. In the form that each client wants:

  docker, podman, skopeo, oras
    echo %[1]s | docker login %[2]s -u %[3]s --password-stdin

  kraft
    kraft login -u %[3]s -t %[1]s %[2]s
%[6]s
  unikraft
    export UKC_TOKEN=%[4]s

  kraft cloud
    export KRAFTCLOUD_TOKEN=%[4]s

  anything else
    curl -H "Authorization: Bearer %[4]s" %[5]s/v1/images
`, t.Secret, t.Host, t.name, t.Bearer, t.url, kraftNote(t.Host))
}

// kraftNote says what stops kraft where the registry is an IP address with a port.
func kraftNote(host string) string {
	if _, err := netip.ParseAddrPort(host); err != nil {
		return ""
	}
	return "    (and no docker login to " + host + " for the same user: an IP:port in docker's\n    configuration stops kraft; docker can use a name, like localhost:port)\n"
}

func printTokens(w io.Writer, tokens []tokenOutput) {
	if len(tokens) == 0 {
		fmt.Fprintln(w, "no tokens")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LABEL\tCREATED\tEXPIRES\tMAY")
	for _, token := range tokens {
		may := "read and write"
		if token.ReadOnly {
			may = "read"
		}
		expires := date(token.Expires, "never")
		if token.Expired {
			expires += " (expired)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", token.Label, date(token.Created, "unknown"), expires, may)
	}
	_ = t.Flush()
}

func date(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.Format("2006-01-02 15:04 UTC")
}
