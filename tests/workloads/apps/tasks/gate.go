// A server that asks another one, in the ways in which Go works on several requests at once.
//
// GET /<way>/<id> makes calls of GET /<way>-<n>/<id> at BACKEND: one; two, one after the other; three at
// once, from a goroutine each; one from a goroutine six generations on; one behind a file. Fewer connections than
// requests.
package main

import (
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	connections = 8
	generations = 6
)

var client = &http.Client{Transport: &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}}

func pause() {
	time.Sleep(time.Duration(rand.Intn(10)) * time.Millisecond)
}

func work(path string) error {
	parts := strings.Split(path, "/")
	way, ident := parts[1], parts[2]
	call := func(number int) error {
		response, err := client.Get(fmt.Sprintf("%s/%s-%d/%s", os.Getenv("BACKEND"), way, number, ident))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	switch way {
	case "one":
		return call(0)
	case "two":
		if err := call(0); err != nil {
			return err
		}
		pause()
		return call(1)
	case "three":
		var all sync.WaitGroup
		var errors [3]error
		for number := range errors {
			all.Add(1)
			go func(number int) {
				defer all.Done()
				errors[number] = call(number)
			}(number)
		}
		all.Wait()
		for _, err := range errors {
			if err != nil {
				return err
			}
		}
		return nil
	case "task":
		done := make(chan error)
		go descend(generations, func() { done <- call(0) })
		return <-done
	default:
		if _, err := os.Stat("/"); err != nil {
			return err
		}
		return call(0)
	}
}

func descend(left int, last func()) {
	if left == 1 {
		pause()
		last()
		return
	}
	go descend(left-1, last)
}

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if err := work(r.URL.Path); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, "ok")
	})
	log.Fatal(http.ListenAndServe(net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")), nil))
}
