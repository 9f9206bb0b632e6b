package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/catalog/rules"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/storage/reference"
)

// newRules is the command about the rules.
func newRules() *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "Remove images by the rules of the configuration"}
	var s settings
	var dryRun bool
	var namespace, output string
	run := &cobra.Command{
		Use:   "run",
		Short: "Apply the rules now",
		Long: `Apply the rules of the configuration now: remove untagged images and tags as they
say. What is removed is shown with the rule that does it, and why.

It works on a registry that is stopped, and on one that runs with the data folder:
that one then does it, by the rules that it was started with. --dry-run chooses the
same, and removes nothing.

The exit status is 0 if all was done, 1 if a repository could not be.`,
		Example: `  berth rules run --dry-run
  berth rules run --namespace alice --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.loadAnyway()
			if err != nil {
				return err
			}
			json, err := wantsJSON(output)
			if err != nil {
				return err
			}
			if namespace != "" && !reference.IsComponent(namespace) {
				return fmt.Errorf("--namespace is the first part of a repository's name, not %q", namespace)
			}
			p := &rulesPrinter{out: cmd.OutOrStdout(), errors: cmd.ErrOrStderr(), json: json}
			summary, err := runRules(cmd.Context(), c, namespace, dryRun, p)
			if err != nil {
				return err
			}
			return p.end(summary)
		},
	}
	s.flags(run)
	run.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be removed")
	run.Flags().StringVar(&namespace, "namespace", "", "only this one")
	outputFlag(run, &output)
	cmd.AddCommand(run)
	return cmd
}

// policyOf is what the configuration says.
func policyOf(c *config.Config) rules.Policy {
	set := func(name string, s config.RuleSet) rules.Set {
		out := rules.Set{Name: name, Untagged: s.Untagged, Immutable: s.Immutable}
		for _, t := range s.Tags {
			out.Tags = append(out.Tags, rules.TagRule(t))
		}
		return out
	}
	p := rules.Policy{Default: set("rules.default", c.Rules.Default), Namespaces: map[string]rules.Set{}}
	for name, s := range c.Rules.Namespaces {
		p.Namespaces[name] = set("rules.namespaces."+name, s)
	}
	return p
}

// runRules has the berth that runs do it, or does it.
func runRules(ctx context.Context, c *config.Config, namespace string, dryRun bool, p *rulesPrinter) (rules.Summary, error) {
	return withRegistry(ctx, c, func() (rules.Summary, error) {
		target := fmt.Sprintf("/rules?namespace=%s&dry_run=%v", url.QueryEscape(namespace), dryRun)
		return ask[ruleLine, rules.Summary](ctx, c.Data, target, p.show, nil)
	}, func(b *berth) (rules.Summary, error) {
		w := newRulesWork(b, c, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		return w.run(ctx, namespace, dryRun, p.show)
	})
}

// ruleLine is one line of what a run says: a tag or manifest that goes, or a
// repository that could not be done.
type ruleLine struct {
	rules.Removal
	Error string `json:"error,omitempty"`
}

// serve does it for a command.
func (w *rulesWork) serve() http.HandlerFunc {
	return answering(w.b, func(r *http.Request, send func(message)) (rules.Summary, error) {
		query := r.URL.Query()
		return w.run(r.Context(), query.Get("namespace"), query.Get("dry_run") == "true", func(one ruleLine) {
			send(message{Finding: asJSON(one)})
		})
	})
}

// rulesPrinter shows what comes of it.
type rulesPrinter struct {
	out, errors io.Writer
	json        bool
	removed     []rules.Removal
	failed      []ruleLine
}

func (p *rulesPrinter) show(one ruleLine) {
	switch {
	case one.Error != "":
		p.failed = append(p.failed, one)
		if !p.json {
			fmt.Fprintf(p.errors, "%s could not be done: %s\n", one.Repository, one.Error)
		}
	case p.json:
		p.removed = append(p.removed, one.Removal)
	default:
		what := one.Repository + "@" + one.Digest.String()
		if one.Tag != "" {
			what = one.Repository + ":" + one.Tag
		}
		fmt.Fprintf(p.out, "%s: %s [%s]\n", what, one.Reason, one.Rule)
	}
}

// end shows the summary, and returns the exit status.
func (p *rulesPrinter) end(s rules.Summary) error {
	if p.json {
		type failure struct {
			Repository string `json:"repository"`
			Error      string `json:"error"`
		}
		failed := []failure{}
		for _, f := range p.failed {
			failed = append(failed, failure{f.Repository, f.Error})
		}
		encoder := json.NewEncoder(p.out)
		encoder.SetIndent("", "  ")
		err := encoder.Encode(map[string]any{"removed": append([]rules.Removal{}, p.removed...), "failed": failed, "summary": s})
		if err != nil {
			return err
		}
	} else {
		did := "removed"
		if s.DryRun {
			did = "to be removed"
		}
		fmt.Fprintf(p.out, "%s with rules: %s and %s %s\n", count(int64(s.Repositories), "repository"),
			count(int64(s.Tags), "tag"), count(int64(s.Manifests), "manifest"), did)
	}
	if s.Failed > 0 {
		return errSilent
	}
	return nil
}
