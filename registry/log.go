package registry

import (
	"context"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// LogTo sends what the embedded registry logs to log. It has one logger for
// the whole process, so this is called once, before the first registry.
func LogTo(log *slog.Logger) {
	logger := logrus.StandardLogger()
	logger.SetOutput(io.Discard)
	// What is below is only told where berth debugs (see Fire): it need not be
	// put together elsewhere.
	logger.SetLevel(logrus.WarnLevel)
	if log.Enabled(context.Background(), slog.LevelDebug) {
		logger.SetLevel(logrus.DebugLevel)
	}
	logger.ReplaceHooks(make(logrus.LevelHooks))
	logger.AddHook(slogHook{log.With("from", "distribution")})
}

type slogHook struct{ log *slog.Logger }

func (slogHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire hands an entry on. What distribution tells as information (every request
// it has answered) is in berth's access log already, and what it calls an error
// is mostly a client's; both are debugging here. A server's own errors are
// logged where the answer is made.
func (s slogHook) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug
	if e.Level == logrus.WarnLevel && e.Context == nil && len(e.Data) <= 1 {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !s.log.Enabled(ctx, level) {
		return nil
	}
	attrs := make([]slog.Attr, 0, len(e.Data))
	for k, v := range e.Data {
		if k == "http.request.uri" {
			continue // it holds the signed state of uploads
		}
		attrs = append(attrs, slog.Any(k, v))
	}
	s.log.LogAttrs(ctx, level, e.Message, attrs...)
	return nil
}
