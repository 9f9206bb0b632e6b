package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate is a certificate and its key in files, read again when they
// change. A pair that cannot be read leaves the last good one in force.
type Certificate struct {
	certificate, key string
	log              *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate // guarded by mu, like what follows
	read    [2]time.Time     // when the files that were read last had changed
	checked time.Time
}

// LoadCertificate reads both files.
func LoadCertificate(certificate, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certificate: certificate, key: key, log: log}
	c.read = c.changed()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	c.pair, c.checked = &pair, time.Now()
	return c, nil
}

// Config is for a server: at least TLS 1.2, and HTTP/2.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}
}

// checkEvery bounds how often the files are looked at.
const checkEvery = time.Second

func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < checkEvery {
		return c.pair, nil
	}
	c.checked = time.Now()
	if now := c.changed(); now != c.read {
		if err := c.load(now); err != nil {
			c.log.Error("the new TLS certificate cannot be used; the last good one stays in force", "error", err)
		}
	}
	return c.pair, nil
}

// Reload reads both files again, whether they have changed or not. If they
// cannot be used, the last good ones stay in force.
func (c *Certificate) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load(c.changed())
}

// load reads both files, which have changed at those times. The caller holds mu.
func (c *Certificate) load(changed [2]time.Time) error {
	c.read = changed // one that is wrong is reported once
	pair, err := tls.LoadX509KeyPair(c.certificate, c.key)
	if err != nil {
		return fmt.Errorf("http.tls: %w", err)
	}
	c.log.Info("TLS certificate loaded again", "certificate", c.certificate)
	c.pair = &pair
	return nil
}

// changed is when each file was changed last, through symbolic links.
func (c *Certificate) changed() (times [2]time.Time) {
	for i, path := range []string{c.certificate, c.key} {
		if info, err := os.Stat(path); err == nil {
			times[i] = info.ModTime()
		}
	}
	return times
}
