// HTTPS on both ends: `tls serve`, or `tls get <host> <port> <tag> <connections> <requests>`, which opens its
// connections, prints their ports, waits for a line, then requests `/<tag>/<own port>/<number>` on each.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func main() {
	if os.Args[1] == "serve" {
		serve()
	}
	get(os.Args[2], os.Args[3], os.Args[4], number(os.Args[5]), number(os.Args[6]))
}

func serve() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n")
	})
	// HTTP/1.1 only.
	server := http.Server{
		Addr:         net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	log.Fatal(server.ListenAndServeTLS(os.Getenv("CERTIFICATE"), os.Getenv("KEY")))
}

// connection is a client that keeps to one connection.
type connection struct {
	http.Client
	port int
}

func get(host, port, tag string, connections, requests int) {
	var wait sync.WaitGroup
	opened := make([]*connection, connections)
	base := "https://" + net.JoinHostPort(host, port)
	for i := range opened {
		opened[i] = open()
		opened[i].get(base + "/open")
		fmt.Print(opened[i].port, " ")
	}
	fmt.Println()
	bufio.NewReader(os.Stdin).ReadString('\n')
	for _, c := range opened {
		c := c
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := 0; i < requests; i++ {
				c.get(fmt.Sprintf("%s/%s/%d/%d", base, tag, c.port, i))
			}
		}()
	}
	wait.Wait()
}

func open() *connection {
	c := &connection{}
	c.Transport = &http.Transport{
		MaxConnsPerHost: 1,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err == nil {
				c.port = conn.LocalAddr().(*net.TCPAddr).Port
			}
			return conn, err
		},
	}
	return c
}

func (c *connection) get(url string) {
	response, err := c.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.StatusCode != 200 {
		log.Fatal(response.Status)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return value
}
