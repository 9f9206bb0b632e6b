package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
)

func newHealthcheck() *cobra.Command {
	var (
		s       settings
		url     string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running berth whether it is ready",
		Long: `Ask the berth that runs with the same configuration whether it is ready to
serve, and exit with 1 if it is not. A container image without a shell can use
it as its health check.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "" {
				c, err := s.loadAnyway()
				if err != nil {
					return err
				}
				url = readyURL(c)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return checkReady(ctx, url)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&url, "url", "", "where to ask (default /readyz of the configured address)")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for an answer")
	return cmd
}

// readyURL is where a berth with this configuration answers on this machine.
func readyURL(c *config.Config) string {
	scheme := "http"
	if c.HTTP.TLS.Certificate != "" {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(c.HTTP.Listen) // validated
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/readyz"
}

func checkReady(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// The certificate is for the public name; here only berth's own answer is
	// asked for, and nothing secret is sent.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s answered %s", url, response.Status)
	}
	return nil
}
