package main

import (
	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/storage"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	var s settings
	check := &cobra.Command{
		Use:   "check",
		Short: "Print the effective configuration, or what is wrong with it and where",
		Long: `Print the configuration that serve would use, as YAML: every key, from the
defaults, the file, the environment and the flags, with secrets masked. If
something is wrong, say what and where, and exit with 1.`,
		Example: `  berth config check --config berth.yaml
  BERTH_HTTP_LISTEN=127.0.0.1:5001 berth config check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			section, err := c.DistributionStorage()
			if err != nil {
				return err
			}
			if err := storage.Check(cmd.Context(), section.Type(), section.Parameters()); err != nil {
				return err
			}
			return c.Write(cmd.OutOrStdout())
		},
	}
	s.flags(check)
	cmd.AddCommand(check)
	return cmd
}
