package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/berth-oci/berth/catalog/images/client"
)

// controller runs one instance of each image that has a tag. It keeps no list of its
// own but what it has started: the Watcher tells what is missing and what is too much,
// also after berth was away, or this was.
type controller struct {
	out     io.Writer
	running map[string]string // URLs of what was started, by the images' UUIDs
}

// consider starts or stops what an image asks for now.
func (c *controller) consider(image client.Image) {
	url, runs := c.running[image.UUID]
	switch wanted := len(image.Tags) > 0; {
	case wanted && !runs:
		fmt.Fprintf(c.out, "start %s %v with %d bytes of kernel\n", image.URL, image.Args, image.Platforms[0].Kernel.Size)
		c.running[image.UUID] = image.URL
	case !wanted && runs:
		c.stop(image)
	case runs:
		fmt.Fprintf(c.out, "keep %s, which is %v now\n", url, image.Tags)
	}
}

// stop stops what was started of an image.
func (c *controller) stop(image client.Image) {
	if url, runs := c.running[image.UUID]; runs {
		fmt.Fprintf(c.out, "stop %s\n", url)
		delete(c.running, image.UUID)
	}
}

// run works until ctx ends.
func (c *controller) run(ctx context.Context, berth *client.Client, namespace string) error {
	w := berth.Watch(client.WatchOptions{
		Namespaces: []string{namespace},
		OnAdd:      c.consider,
		OnUpdate:   func(_, now client.Image) { c.consider(now) },
		OnDelete:   c.stop,
		OnSync:     func(string) { fmt.Fprintf(c.out, "%d are running\n", len(c.running)) },
	})
	if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// ExampleClient_Watch is a controller that prints what it would start and stop.
// TestController runs it against a berth.
func ExampleClient_Watch() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	berth, err := client.New(os.Getenv("BERTH_URL"), client.WithToken(client.EnvironmentToken))
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &controller{os.Stdout, map[string]string{}}
	if err := c.run(ctx, berth, "alice"); err != nil {
		fmt.Println(err)
	}
}
