# The image holds one file: the server needs nothing but a Linux kernel.
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++
COPY server.cpp build.sh /mote/
RUN bash /mote/build.sh

FROM scratch
COPY --from=build /mote/server /server
USER 65534:65534
EXPOSE 8080
ENTRYPOINT ["/server"]
