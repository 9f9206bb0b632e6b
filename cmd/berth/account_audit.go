package main

import (
	"errors"
	"fmt"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/registry/access"
)

// audit writes a change of the accounts down, after it was made. Its arguments
// are names, labels and namespaces; secrets are only ever printed.
func (a *account) audit(cmd *cobra.Command, args []string) error {
	switch cmd.Name() {
	case "list", "show":
		return nil
	}
	c, err := a.load()
	if err != nil {
		return err
	}
	warnWhere(cmd.Context(), cmd.ErrOrStderr(), c)
	if c.Audit.File == "" {
		return nil
	}
	log, err := access.OpenAuditFor(c.Audit.File, c.Data)
	if err != nil {
		return fmt.Errorf("the change is made, and is not in the audit log: %w", err)
	}
	e := access.Event{
		Action: strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), Client: "local",
		Detail: strings.Join(args, " "),
	}
	if purge, err := cmd.Flags().GetBool("purge"); err == nil && purge {
		e.Detail += " --purge"
	}
	if who, err := user.Current(); err == nil {
		e.Client += " user " + who.Username
	}
	return errors.Join(log.Write(e), log.Close())
}
