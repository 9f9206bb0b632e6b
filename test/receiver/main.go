// Command receiver is a webhook's receiver to try: it verifies what berth sends, and
// prints it.
//
//	go run ./test/receiver --listen 127.0.0.1:8099 --secret-file hook.secret
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/berth-oci/berth/catalog/images/client"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8099", "address to listen on")
	file := flag.String("secret-file", "", "file with the secret")
	flag.Parse()
	secret, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", l.Addr())
	server := &http.Server{Handler: receive(strings.TrimSpace(string(secret))), ReadTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// receive prints what is signed with a secret. A receiver that does more than that
// remembers the last ID before it answers: what comes again is done already.
func receive(secret string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := client.ReadEvent(r, secret)
		if err != nil {
			fmt.Println("refused:", err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		switch e.Change.Type {
		case client.TypeResync:
			fmt.Println("list the images, and then follow what comes after", e.Change.Revision)
		default:
			fmt.Println(e.Change.Type, e.Change.Repository, e.Change.Digest)
			for _, tag := range e.Change.Tags {
				fmt.Printf("  %s is %q now, and was %q\n", tag.Name, tag.Digest, tag.Previous)
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
