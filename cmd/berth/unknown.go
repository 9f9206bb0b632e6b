package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-oci/berth/config/nearest"
)

// refuseUnknown makes commands that only have others below them refuse what is
// none of these. Without it cobra prints their help, and a script goes on.
func refuseUnknown(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		refuseUnknown(c)
	}
	if cmd.Runnable() || !cmd.HasSubCommands() {
		return
	}
	cmd.Args = knownCommand
	cmd.DisableFlagsInUseLine = true
	cmd.RunE = func(*cobra.Command, []string) error { return pflag.ErrHelp }
}

func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	const longest = 100
	name := args[0]
	if len(name) > longest {
		name = name[:longest]
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if best, near := nearest.Of(name, names); near {
		return fmt.Errorf("unknown command %q for %q; did you mean %s %s?", name, cmd.CommandPath(), cmd.CommandPath(), best)
	}
	return fmt.Errorf("unknown command %q for %q; %s --help shows those that there are", name, cmd.CommandPath(), cmd.CommandPath())
}
