// Command berth is an OCI registry that understands unikernels.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
)

func main() {
	// The first signal stops berth in an orderly way, the second at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		var left leftOver
		if errors.As(err, &left) {
			os.Exit(int(left))
		}
		if !errors.Is(err, errSilent) {
			fmt.Fprintf(os.Stderr, "berth: %v\n", err)
		}
		os.Exit(exitStatus(err))
	}
}

// errSilent ends a command that has already said what is wrong.
var errSilent = errors.New("failed")

// settings are the flags that every command with a configuration has.
type settings struct {
	file, listen, data, logLevel, logFormat string
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "berth",
		Short: "An OCI registry that understands unikernels",
		Long: `berth is an OCI registry that understands unikernels.

Push images to it with kraft, the unikraft CLI, docker, skopeo or any other OCI
client; ask its images API which exist and what each needs to boot.`,
		Example: `  berth serve
  berth serve --listen 127.0.0.1:5001 --data /var/lib/berth
  berth config check --config berth.yaml`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("berth {{.Version}}\n")
	root.Version = version()
	images := newImagesCommand()
	root.AddCommand(newServe(), newConfig(), newHealthcheck(), newAccount(accountHooks{officialFolder: officialFolder, used: usedBy}), images, newFsck(), newGC(), newIndex(), newRules(), newVersion())
	refuseUnknown(root)
	images.Args = usageOf(images.Args)
	return root
}

func (s *settings) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.file, "config", "", "configuration file (YAML; also "+config.EnvFile+")")
	f.StringVar(&s.listen, "listen", "", "address to serve on (default 127.0.0.1:5000)")
	f.StringVar(&s.data, "data", "", "folder for everything that berth keeps (default ./berth-data)")
	f.StringVar(&s.logLevel, "log-level", "", "debug, info, warn or error (default info)")
	f.StringVar(&s.logFormat, "log-format", "", "text or json (default text)")
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagDirname("data")
}

// load reads the configuration: defaults, file, environment, flags.
func (s *settings) load() (*config.Config, error) {
	file := s.file
	if file == "" {
		file = os.Getenv(config.EnvFile)
	}
	c, err := config.Load(file, os.Environ())
	if err != nil {
		return nil, err
	}
	for _, flag := range []struct {
		value string
		field *string
	}{
		{s.listen, &c.HTTP.Listen}, {s.data, &c.Data}, {s.logLevel, &c.Log.Level}, {s.logFormat, &c.Log.Format},
	} {
		if flag.value != "" {
			*flag.field = flag.value
		}
	}
	return c, c.Validate()
}

// loadAnyway is load for commands that open nothing to anyone: what only a
// closed registry may do must not keep them from asking or closing it.
func (s *settings) loadAnyway() (*config.Config, error) {
	c, err := s.load()
	if err != nil && c != nil {
		c.HTTP.Open = true
		err = c.Validate()
	}
	return c, err
}
