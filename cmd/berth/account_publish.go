package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage/reference"
)

func (a *account) newPublish() *cobra.Command {
	return &cobra.Command{
		Use:   "publish REPOSITORY…",
		Short: "Let everyone pull a repository, without an account too",
		Long: `Let everyone who reaches the registry pull a repository and list its images,
without an account too, from the next request on. What lies below it (alice/app
and alice/app/debug) is public with it. Who may push stays as it was.

Images that are pushed to it later are public too. A namespace as a whole cannot
be published. All official images at once: accounts.anonymous_official in the
configuration.`,
		Example: `  berth account publish alice/app
  berth account publish alice/app alice/web official/python`,
		Args:              repositoryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changePublic(cmd, args, (*access.File).Publish, "is public now: whoever reaches the registry may pull it and list its images, and those of what lies below it.")
		},
	}
}

func (a *account) newUnpublish() *cobra.Command {
	return &cobra.Command{
		Use:               "unpublish REPOSITORY…",
		Short:             "Take back that everyone may pull a repository",
		Long:              `Take back that everyone may pull a repository, from the next request on.`,
		Example:           "  berth account unpublish alice/app",
		Args:              repositoryArgs,
		ValidArgsFunction: a.completePublic,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changePublic(cmd, args, (*access.File).Unpublish, "is not public any more.")
		},
	}
}

func repositoryArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("wants one or more repositories: %s alice/app", cmd.CommandPath())
	}
	return nil
}

// changePublic changes what is public.
func (a *account) changePublic(cmd *cobra.Command, repositories []string, how func(*access.File, ...string) error, says string) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	public := []string{}
	err = a.editFile(c, func(f *access.File) error {
		err := how(f, repositories...)
		public = append(public, f.Public...)
		return err
	})
	if err != nil {
		return err
	}
	return a.print(cmd, map[string]any{"public": public}, func(w io.Writer) {
		for _, name := range repositories {
			fmt.Fprintf(w, "%s %s\n", name, says)
		}
	})
}

// completePublic completes what is public.
func (a *account) completePublic(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(true, toComplete, func(f *access.File) []string { return f.Public })
}

// publicOf is what is public of a namespace.
func publicOf(f *access.File, namespace string) (names []string) {
	for _, name := range f.Public {
		if reference.Namespace(name) == namespace {
			names = append(names, name)
		}
	}
	return names
}
