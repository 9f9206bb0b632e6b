package main

import (
	"io"
	"log/slog"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/berth-oci/berth/catalog"
)

// progressEvery is how often the log says how far a build has come.
const progressEvery = 3 * time.Second

// buildProgress shows a bar on a terminal, and else a line of the log every few
// seconds.
type buildProgress struct {
	log   *slog.Logger
	bar   *progressbar.ProgressBar // nil without a terminal
	begun time.Time                // when the first manifest had been looked at
	first int64                    // how many had been looked at then
	last  time.Time                // of the last line
	now   catalog.Progress
}

func newBuildProgress(log *slog.Logger, stderr io.Writer) *buildProgress {
	p := &buildProgress{log: log, last: time.Now()}
	if interactive(stderr) {
		p.bar = progressbar.NewOptions(1, progressbar.OptionSetWriter(stderr),
			progressbar.OptionSetDescription("building the index"), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("manifests"), progressbar.OptionSetPredictTime(true),
			progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
	}
	return p
}

// tell takes note of how far the build has come.
func (p *buildProgress) tell(now catalog.Progress) {
	if p.begun.IsZero() && now.Manifests > 0 {
		p.begun, p.first = time.Now(), now.Manifests
	}
	p.now = now
	done, all := now.Manifests, now.All
	if all == 0 {
		done, all = int64(now.Repositories), int64(now.Found)
	}
	if p.bar != nil {
		p.bar.ChangeMax64(max(all, 1))
		_ = p.bar.Set64(min(done, all))
		return
	}
	if time.Since(p.last) < progressEvery {
		return
	}
	p.last = time.Now()
	line := []any{"repositories", now.Repositories, "found", now.Found, "manifests", now.Manifests}
	if now.All > 0 {
		line = append(line, "of", now.All)
	}
	if took := time.Since(p.begun); !p.begun.IsZero() && took > time.Second {
		line = append(line, "rate", int64(float64(now.Manifests-p.first)/took.Seconds()))
		if done > 0 {
			line = append(line, "left", time.Duration(float64(took)*float64(all-done)/float64(done)).Round(time.Second))
		}
	}
	p.log.Info("building the index from storage", line...)
}

// end ends the showing, and returns how far it came.
func (p *buildProgress) end() catalog.Progress {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
	return p.now
}
