// fasthttp/prefork as a peer: a child process for each processor it may use, the read and the idle
// timeout on, as any server on the internet needs them.
//
//	fasthttp ADDRESS
package main

import (
	"log"
	"os"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/prefork"
)

func main() {
	server := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("text/plain")
			ctx.WriteString("Hello, World!")
		},
		ReadTimeout: 60 * time.Second,
		IdleTimeout: 60 * time.Second,
	}
	log.Fatal(prefork.New(server).ListenAndServe(os.Args[1]))
}
