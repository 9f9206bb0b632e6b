package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/catalog/rules"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/access"
)

// rulesWork applies the rules, and tells of it in the log, the metrics and the
// audit log.
type rulesWork struct {
	b        *berth
	policy   rules.Policy
	readOnly bool
	log      *slog.Logger

	removed *prometheus.CounterVec
	runs    *prometheus.CounterVec
	ended   prometheus.Gauge
}

func newRulesWork(b *berth, c *config.Config, metrics *prometheus.Registry, log *slog.Logger) *rulesWork {
	w := &rulesWork{
		b: b, policy: policyOf(c), readOnly: c.ReadOnly(), log: log,
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_rules_removed_total", Help: "Tags and manifests that rules have removed, by the rule.",
		}, []string{"kind", "rule"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_rules_runs_total", Help: "Runs of the rules, by what came of them.",
		}, []string{"result"}),
		ended: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "berth_rules_ended_timestamp_seconds", Help: "When a run of all rules last came to its end without a failure, in Unix time; 0 for never.",
		}),
	}
	for _, result := range []string{"success", "failure"} {
		w.runs.WithLabelValues(result)
	}
	metrics.MustRegister(w.removed, w.runs, w.ended)
	return w
}

// run applies the rules once, and calls show with each line of what comes of it.
func (w *rulesWork) run(ctx context.Context, namespace string, dryRun bool, show func(ruleLine)) (rules.Summary, error) {
	if w.readOnly && !dryRun {
		return rules.Summary{}, errReadOnly
	}
	summary, err := rules.Run(ctx, rules.Options{
		Catalog: w.b.catalog, Policy: w.policy, Namespace: namespace, DryRun: dryRun,
		Removed: func(r rules.Removal) {
			if !dryRun {
				w.tell(r)
			}
			show(ruleLine{Removal: r})
		},
		Failed: func(repository string, err error) {
			w.log.Error("the rules of a repository could not be applied", "repository", repository, "error", err)
			show(ruleLine{Removal: rules.Removal{Repository: repository}, Error: err.Error()})
		},
	})
	if dryRun {
		return summary, err
	}
	if err != nil || summary.Failed > 0 {
		w.runs.WithLabelValues("failure").Inc()
	} else {
		w.runs.WithLabelValues("success").Inc()
		if namespace == "" {
			w.ended.SetToCurrentTime()
		}
	}
	w.log.Info("the rules were applied", "repositories", summary.Repositories, "tags", summary.Tags, "manifests", summary.Manifests, "failed", summary.Failed)
	return summary, err
}

// tell writes down what a rule has removed.
func (w *rulesWork) tell(r rules.Removal) {
	kind := "manifest"
	if r.Tag != "" {
		kind = "tag"
	}
	w.removed.WithLabelValues(kind, r.Rule).Inc()
	w.log.Info("removed by a rule", "repository", r.Repository, "tag", r.Tag, "digest", r.Digest, "rule", r.Rule, "reason", r.Reason)
	err := w.b.audit.Write(access.Event{
		Action: "delete", Repository: r.Repository, Tag: r.Tag, Digest: r.Digest.String(), Detail: r.Rule + ": " + r.Reason,
	})
	if err != nil {
		w.log.Error("the audit log cannot be written", "error", err)
	}
}

// rulesPatience is how long after a start the rules are first applied, if their
// interval is longer: a berth that is started every day is to come to it, and one
// with a mistake in its rules is to leave time to see it.
const rulesPatience = 10 * time.Minute

// start applies the rules in the background, if there are any and they are to be.
func (w *rulesWork) start(interval time.Duration) {
	if interval == 0 || w.readOnly || !w.policy.Any() {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait := min(rulesPatience, interval); ; wait = interval {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if _, err := w.run(ctx, "", false, func(ruleLine) {}); err != nil && ctx.Err() == nil {
				w.log.Error("the rules could not be applied", "error", err)
			}
		}
	}()
	w.b.closers = append(w.b.closers, func() error {
		stop()
		<-done
		return nil
	})
}
