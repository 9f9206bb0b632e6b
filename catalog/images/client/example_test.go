package client_test

import (
	"context"
	"fmt"
	"os"

	"github.com/berth-oci/berth/catalog/images/client"
)

// Example lists what alice has, looks an image up, and asks for one that is not
// there. TestExample runs it against a berth.
func Example() {
	ctx := context.Background()
	c, err := client.New(os.Getenv("BERTH_URL"), client.WithToken(client.EnvironmentToken))
	if err != nil {
		fmt.Println(err)
		return
	}
	for image, err := range c.List(ctx, client.ListOptions{Namespaces: []string{"alice"}, Tagged: true}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(image.Name(), image.Tags, image.Size, "bytes")
	}
	image, err := c.Get(ctx, "alice/app:v1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("boots with", image.Args, "on", image.Platforms[0].OS)
	_, err = c.Get(ctx, "alice/none")
	fmt.Println("not there:", client.IsNotFound(err))
}
