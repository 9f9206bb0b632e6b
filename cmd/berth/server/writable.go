package server

import (
	"net/http"
	"strings"
)

// onlyWritable refuses what would change something while nothing may be.
func (s *Server) onlyWritable(next http.Handler) http.Handler {
	if s.options.Writable == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
		if !reads && (strings.HasPrefix(path, "/v2/") || strings.HasPrefix(path, "/api/v2.0/")) {
			if retryAfter, err := s.options.Writable(); err != nil {
				s.options.Log.ErrorContext(r.Context(), "refused to write", "error", err)
				w.Header().Set("Retry-After", retryAfter)
				refuse(w, r, http.StatusServiceUnavailable, "UNAVAILABLE", "the registry's storage is not where it was; nothing is written until it is back")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
